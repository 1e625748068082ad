package mosquitto

import (
	"maps"
	"slices"
	"strings"
)

// Fault is why the broker did not start or stopped, as its log tells.
type Fault struct {
	Line  string // the line that told, without its stamp
	Cause string // lower case, no full stop
	Hint  string // what to type or change
	Topic FaultTopic
}

// FaultTopic is what of the broker a fault is about.
type FaultTopic string

// The topics. FaultOther is none of them.
const (
	FaultOther         FaultTopic = ""
	FaultConfiguration FaultTopic = "configuration"
	FaultUsers         FaultTopic = "users"     // password or ACL file
	FaultDatabase      FaultTopic = "database"  // it cannot be loaded
	FaultSaving        FaultTopic = "saving"    // it cannot be saved
	FaultWebSocket     FaultTopic = "websocket" // the listener cannot be opened
	FaultMemory        FaultTopic = "memory"
)

// FindFault returns the fault that the lines of one start tell, the most telling
// first: several lines may speak of one fault. It compares the beginnings of lines,
// where no client's words can stand. What a later success settles is left out: a
// start that came to its end, files that are read again, a database that is saved
// again.
func FindFault(lines []Line) (Fault, bool) {
	s := faultSearch{table: faultTable()}
	for _, line := range lines {
		if words, ok := strings.CutPrefix(line.Text, "error: "); ok && line.FromScript {
			// All that the script refuses is about the data.
			return Fault{Line: line.Text, Cause: words, Topic: FaultDatabase}, true
		}
		if !line.FromScript {
			s.take(line)
		}
	}
	if len(s.open) == 0 {
		return Fault{}, false
	}
	rank := slices.Min(slices.Collect(maps.Keys(s.open)))
	return Fault{Line: s.open[rank], Cause: s.table[rank].cause, Hint: s.table[rank].hint, Topic: s.table[rank].topic}, true
}

// faultSearch is what is known after some lines.
type faultSearch struct {
	table   []knownFault
	open    map[int]string // the first line of each row of the table that nothing has settled
	running bool
	above   string // the line before
}

// take goes on by one line of the broker.
func (s *faultSearch) take(line Line) {
	if Running(line) {
		s.running, s.open = true, nil
		return
	}
	maps.DeleteFunc(s.open, func(i int, _ string) bool {
		settled := s.table[i].settled
		return settled != "" && strings.HasPrefix(line.Text, settled)
	})
	above := s.above
	s.above = line.Text
	_, text := introduced(line.Text)
	for i, known := range s.table {
		tells := slices.ContainsFunc(known.begins, func(begin string) bool { return strings.HasPrefix(text, begin) })
		if !tells || s.running && known.starting {
			continue
		}
		if s.open == nil {
			s.open = map[int]string{}
		}
		if _, told := s.open[i]; !told {
			s.open[i] = line.Text
			if intro, _ := introduced(above); known.follows && intro != "" {
				s.open[i] = above
			}
		}
		return
	}
}

// introduced takes from the beginning of a line what the broker puts before its
// errors: the name of the plugin that tells, and the word Error.
func introduced(text string) (intro, rest string) {
	rest = text
	for _, words := range []string{"password-file: ", "acl-file: ", "Error: "} {
		if after, ok := strings.CutPrefix(rest, words); ok {
			intro, rest = intro+words, after
		}
	}
	return intro, rest
}

// Running reports whether the line says that the broker's start is over.
func Running(l Line) bool {
	return strings.HasPrefix(l.Text, "mosquitto version ") && strings.HasSuffix(l.Text, " running")
}

type knownFault struct {
	begins      []string // of the line's text, after "Error: "; 2.0 and 2.1 differ in places
	cause, hint string
	topic       FaultTopic
	settled     string // what a line begins with that tells of the next try, "" where there is none
	follows     bool   // the line above tells why
	// starting is true where a client can make the broker write such a line once it runs.
	starting bool
}

// faultTable lists what ends a start, the more telling before what only follows from
// it. The texts are those of Mosquitto 2.0.22 and 2.1.2.
func faultTable() []knownFault {
	return slices.Concat(fileFaults(), systemFaults(), generalFaults())
}

// Beginnings of lines that tell of another try.
const (
	reloading = "Reloading config."
	saving    = "Saving in-memory database to "
)

const (
	hintFiles = "run \"mqtunnel up\", which puts the files into the container again"
	hintConfD = "look at mosquitto/conf.d and at the version of MOSQUITTO_IMAGE"
)

// fileFaults are about the files that mqtunnel writes, and the database.
func fileFaults() []knownFault {
	return []knownFault{
		{
			begins: []string{"Unknown configuration variable"}, settled: reloading,
			topic: FaultConfiguration, cause: "the broker does not know a directive of its configuration", hint: hintConfD,
		},
		{begins: []string{"Duplicate user "}, settled: reloading, topic: FaultUsers, cause: "a user stands twice in the password file", hint: hintFiles},
		{
			begins:  []string{"Unable to decode line in password file", "Invalid line in password file", "Empty username in password file"},
			settled: reloading, topic: FaultUsers, cause: "the password file has a line that the broker does not read", hint: hintFiles,
		},
		{
			begins:  []string{"Unable to open pwfile", "Error opening password file"},
			settled: reloading, topic: FaultUsers, cause: "the broker cannot read its password file", hint: hintFiles,
		},
		{
			begins:  []string{"Invalid ACL topic", "Invalid topic access type", "Invalid line in acl_file", "Empty topic in acl_file", "Missing username in acl_file"},
			settled: reloading, topic: FaultUsers, cause: "the ACL file has a line that the broker does not read", hint: hintFiles,
		},
		{
			begins: []string{"Unable to open acl_file", "Error opening acl file"}, settled: reloading,
			topic: FaultUsers, cause: "the broker cannot read its ACL file", hint: hintFiles,
		},
		{
			begins: []string{"Unable to open config file", "Config file "}, settled: reloading,
			topic: FaultConfiguration, cause: "the broker cannot read its configuration", hint: hintFiles,
		},
		{
			begins: []string{
				"Unable to restore persistent database", "Couldn't open database", "Unsupported persistent database format",
				"Incompatible database configuration",
			},
			topic: FaultDatabase, cause: "the broker cannot load its database",
			hint: "copies are in " + CopiesPath + " of the container; Mosquitto 2.1 starts without the lost messages, 2.0 not before the file is replaced",
		},
	}
}

// systemFaults are about what the container gives the broker.
func systemFaults() []knownFault {
	return []knownFault{
		{
			begins: []string{"Address already in use"},
			topic:  FaultConfiguration, cause: "two listeners want the same port", hint: "remove the second listener from mosquitto/conf.d",
		},
		{
			begins: []string{"Address not available", "Cannot assign requested address"},
			topic:  FaultConfiguration, cause: "a listener wants an address that the container does not have", hint: "leave the address out of the listener in mosquitto/conf.d",
		},
		{
			begins: []string{"Error setting groups whilst", "Error setting gid whilst", "Error setting uid whilst", "Unable to drop privileges"},
			topic:  FaultConfiguration, cause: "the broker was started as root without the right to change its user",
			hint: "leave user: \"1883:1883\" in place in compose.override.yaml",
		},
		{
			begins: []string{"OOM allocating", "ZERO RANDOM FD", "Unable to create websockets listener"},
			topic:  FaultWebSocket, cause: "the broker cannot open its WebSocket listener: the limit of open files is too high for it",
			hint: "leave ulimits nofile in place in compose.override.yaml",
		},
		{
			begins: []string{"Websockets support not available"}, topic: FaultWebSocket, cause: "this build of the broker has no WebSockets",
			hint: "set MOSQUITTO_IMAGE to an official eclipse-mosquitto image",
		},
		{begins: []string{"Unable to load plugin", "Unable to load auth plugin"}, topic: FaultConfiguration, cause: "a plugin cannot be loaded", hint: hintConfD},
		{
			begins: []string{"Error saving in-memory database", "Error during saving in-memory database"}, settled: saving,
			topic: FaultSaving, cause: "the broker cannot save its database", hint: "is the disk full? " + DataPath + " must belong to uid 1883",
		},
		{
			begins: []string{"Out of memory"}, topic: FaultMemory, cause: "the broker has used up its memory",
			hint: "retained messages and queues fill it: mqtunnel restart mosquitto, then see which user publishes so much",
		},
	}
}

// generalFaults say that something is wrong at a start and not what.
func generalFaults() []knownFault {
	return []knownFault{
		{
			begins: []string{"Invalid ", "Empty ", "Duplicate "}, starting: true,
			topic: FaultConfiguration, cause: "the broker does not accept a value of its configuration", hint: hintConfD,
		},
		{
			begins: []string{"Error found at "}, starting: true, follows: true,
			topic: FaultConfiguration, cause: "the broker does not accept its configuration", hint: hintConfD,
		},
		{
			begins: []string{"Permission denied"}, starting: true,
			cause: "the broker may not do something that it needs", hint: "did compose.override.yaml change its user or a mount?",
		},
	}
}

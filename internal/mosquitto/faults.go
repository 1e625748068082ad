package mosquitto

import (
	"slices"
	"strings"
)

// Fault is why the broker did not start or stopped, as its log tells.
type Fault struct {
	Line  string // the line that told, without its stamp
	Cause string // lower case, no full stop
	Hint  string // what to type or change
}

// FindFault returns the fault that the lines of one start tell, the most telling
// first: several lines may speak of one fault. It compares the beginnings of lines,
// where no client's words can stand.
func FindFault(lines []Line) (Fault, bool) {
	best, rank := Fault{}, -1
	table := faultTable()
	for _, line := range lines {
		text := line.Text
		if Running(line) {
			// From here on a client can make the broker write what the general rows
			// begin with.
			table = slices.Concat(fileFaults(), systemFaults())
		}
		if line.FromScript {
			if words, ok := strings.CutPrefix(text, "error: "); ok {
				return Fault{Line: text, Cause: words, Hint: ""}, true
			}
			continue
		}
		for _, plugin := range []string{"password-file: ", "acl-file: "} {
			text = strings.TrimPrefix(text, plugin)
		}
		text = strings.TrimPrefix(text, "Error: ")
		for i, known := range table {
			tells := slices.ContainsFunc(known.begins, func(begin string) bool { return strings.HasPrefix(text, begin) })
			if tells && (rank < 0 || i < rank) {
				best, rank = Fault{Line: line.Text, Cause: known.cause, Hint: known.hint}, i
			}
		}
	}
	return best, rank >= 0
}

// Running reports whether the line says that the broker's start is over.
func Running(l Line) bool {
	return strings.HasPrefix(l.Text, "mosquitto version ") && strings.HasSuffix(l.Text, " running")
}

type knownFault struct {
	begins      []string // of the line's text, after "Error: "; 2.0 and 2.1 differ in places
	cause, hint string
}

// faultTable lists what ends a start, the more telling before what only follows from
// it. The texts are those of Mosquitto 2.0.22 and 2.1.2.
func faultTable() []knownFault {
	return slices.Concat(fileFaults(), systemFaults(), generalFaults())
}

const (
	hintFiles = "run \"mqtunnel up\", which puts the files into the container again"
	hintConfD = "look at mosquitto/conf.d and at the version of MOSQUITTO_IMAGE"
)

// fileFaults are about the files that mqtunnel writes, and the database.
func fileFaults() []knownFault {
	return []knownFault{
		{[]string{"Unknown configuration variable"}, "the broker does not know a directive of its configuration", hintConfD},
		{[]string{"Duplicate user "}, "a user stands twice in the password file", hintFiles},
		{
			[]string{"Unable to decode line in password file", "Invalid line in password file", "Empty username in password file"},
			"the password file has a line that the broker does not read", hintFiles,
		},
		{
			[]string{"Unable to open pwfile", "Error opening password file"},
			"the broker cannot read its password file", hintFiles,
		},
		{
			[]string{"Invalid ACL topic", "Invalid topic access type", "Invalid line in acl_file", "Empty topic in acl_file", "Missing username in acl_file"},
			"the ACL file has a line that the broker does not read", hintFiles,
		},
		{[]string{"Unable to open acl_file", "Error opening acl file"}, "the broker cannot read its ACL file", hintFiles},
		{
			[]string{"Unable to open config file", "Config file "},
			"the broker cannot read its configuration", hintFiles,
		},
		{
			[]string{
				"Unable to restore persistent database", "Couldn't open database", "Unsupported persistent database format",
				"Incompatible database configuration",
			},
			"the broker cannot load its database",
			"copies are in " + CopiesPath + " of the container; Mosquitto 2.1 starts without the lost messages, 2.0 not before the file is replaced",
		},
	}
}

// systemFaults are about what the container gives the broker.
func systemFaults() []knownFault {
	return []knownFault{
		{
			[]string{"Address already in use"},
			"two listeners want the same port",
			"remove the second listener from mosquitto/conf.d",
		},
		{
			[]string{"Address not available", "Cannot assign requested address"},
			"a listener wants an address that the container does not have", "leave the address out of the listener in mosquitto/conf.d",
		},
		{
			[]string{"Error setting groups whilst", "Error setting gid whilst", "Error setting uid whilst", "Unable to drop privileges"},
			"the broker was started as root without the right to change its user",
			"leave user: \"1883:1883\" in place in compose.override.yaml",
		},
		{
			[]string{"OOM allocating", "ZERO RANDOM FD", "Unable to create websockets listener"},
			"the broker cannot open its WebSocket listener: the limit of open files is too high for it",
			"leave ulimits nofile in place in compose.override.yaml",
		},
		{[]string{"Websockets support not available"}, "this build of the broker has no WebSockets", "set MOSQUITTO_IMAGE to an official eclipse-mosquitto image"},
		{
			[]string{"Unable to load plugin", "Unable to load auth plugin"}, "a plugin cannot be loaded", hintConfD,
		},
		{
			[]string{"Error saving in-memory database", "Error during saving in-memory database"},
			"the broker cannot save its database", "is the disk full? " + DataPath + " must belong to uid 1883",
		},
		{
			[]string{"Out of memory"},
			"the broker has used up its memory",
			"retained messages and queues fill it: mqtunnel restart mosquitto, then see which user publishes so much",
		},
	}
}

// generalFaults say that something is wrong at a start and not what.
func generalFaults() []knownFault {
	return []knownFault{
		{[]string{"Invalid ", "Empty ", "Duplicate "}, "the broker does not accept a value of its configuration", hintConfD},
		{[]string{"Error found at "}, "the broker does not accept its configuration", hintConfD},
		{[]string{"Permission denied"}, "the broker may not do something that it needs", "did compose.override.yaml change its user or a mount?"},
	}
}

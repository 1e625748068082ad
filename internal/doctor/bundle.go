package doctor

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
)

// BundleFile is one file of a bundle.
type BundleFile struct {
	Name string
	Data []byte
}

// Program is what is known of mqtunnel itself and of the machine it runs on.
type Program struct {
	Version, OS, Arch string
	Kernel            string // release, "" when unknown
}

// Bundle returns what somebody who helps needs to know, as files of text. Everything
// in it is a number, one of a known few words, or a sentence of ours: no name, no
// address, no identifier and no text from outside, be it secret or not.
func Bundle(e *Evidence, d Diagnosis, p Program) []BundleFile {
	files := []BundleFile{
		{"README.txt", []byte(bundleReadme)},
		{"diagnosis.json", bundleJSON(bundleResults(d))},
		{"system.json", bundleJSON(bundleSystem(e, p))},
		{"network.json", bundleJSON(bundleNetwork(e))},
	}
	if s := e.Project.Status; s != nil {
		files = append(
			files,
			BundleFile{"connector-log.txt", bundleLog(e.At, connectorEntries(s.ConnectorLines))},
			BundleFile{"broker-log.txt", bundleLog(e.At, brokerEntries(s.BrokerLines))},
		)
	}
	return files
}

const bundleReadme = `What mqtunnel doctor found, for somebody who helps.

diagnosis.json     every check with its outcome
system.json        versions, containers, settings without their texts
network.json       the dashboard's rules as shapes, and every look at the network
connector-log.txt  known lines of cloudflared's log, without their variable parts
broker-log.txt     known lines of Mosquitto's log, without their variable parts

No name, address, identifier, password or token is in it.
`

// bundleJSON writes an object for people who look at it.
func bundleJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err) // the types below can all be written
	}
	return b.Bytes()
}

// object is a JSON object, of which the keys are ours.
type object map[string]any

// other stands for a text that is none of those that a bundle may hold.
const other = "other"

// word returns the text if it is one of the known ones; the empty one stays empty.
func word[T ~string](text T, known ...T) string {
	if text == "" || slices.Contains(known, text) {
		return string(text)
	}
	return other
}

// shape returns the part of the text that the pattern finds.
func shape(pattern *regexp.Regexp, text string) string {
	if found := pattern.FindString(text); text == "" || found != "" {
		return found
	}
	return other
}

// What may be told of versions and images.
var (
	versionShape = regexp.MustCompile(`^v?[0-9]{1,4}(\.[0-9]{1,4}){1,3}`)
	imageShape   = regexp.MustCompile(`^(docker\.io/)?((library/)?eclipse-mosquitto|cloudflare/cloudflared):[0-9]{1,4}(\.[0-9]{1,4}){0,2}(-alpine|-openssl|-amd64|-arm64)?$`)
	digestShape  = regexp.MustCompile(`sha256:[0-9a-f]{64}$`)
)

// bundleResult is how one check came out. Its sentence is told only where nothing was
// filled into it.
type bundleResult struct {
	Code     string `json:"code"`
	ID       string `json:"id"`
	Status   Status `json:"status"`
	Title    string `json:"title"`
	Sentence string `json:"sentence,omitempty"`
	Blocker  string `json:"blocker,omitempty"`
}

func bundleResults(d Diagnosis) []bundleResult {
	var list []bundleResult
	for _, r := range d.Results {
		b := bundleResult{Code: r.Code, ID: r.ID, Status: r.Status, Title: r.Title, Blocker: r.Blocker}
		if r.Sentence == r.literal {
			b.Sentence = r.literal
		}
		list = append(list, b)
	}
	return list
}

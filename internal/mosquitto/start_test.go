package mosquitto_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/compose"
	"mqtunnel/internal/mosquitto"
)

// database returns a database as Mosquitto 2 writes it: so many retained messages,
// and the payload to tell one from the other. Without both it is the 47 bytes of an
// empty one.
func database(retained int, payload string) []byte {
	var b bytes.Buffer
	record := func(kind uint32, content []byte) {
		b.Write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, kind), uint32(len(content))))
		b.Write(content)
	}
	b.WriteString("\x00\xb5\x00mosquitto db\x00\x00\x00\x00\x00\x00\x00\x06")
	record(1, make([]byte, 16))
	if payload != "" {
		record(2, []byte(payload))
	}
	for i := range retained {
		record(4, binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	return b.Bytes()
}

// starter runs the start script on a directory of the test's own.
type starter struct {
	t      *testing.T
	data   string
	script string
}

// newStarter takes the place of the broker with a script that leaves a mark, and the
// time at which the broker reads the database.
func newStarter(t *testing.T) *starter {
	t.Helper()
	text, err := compose.Files.ReadFile(compose.StartScript)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &starter{t: t, data: filepath.Join(dir, "data"), script: filepath.Join(dir, "start.sh")}
	if err := os.Mkdir(s.data, 0o700); err != nil {
		t.Fatal(err)
	}
	broker := filepath.Join(dir, "broker")
	if err := os.WriteFile(broker, []byte("#!/bin/sh\necho \"broker $*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := string(text)
	for _, place := range [][2]string{{"\ndata=/mosquitto/data\n", "\ndata=" + s.data + "\n"}, {"\nbroker=/usr/sbin/mosquitto\n", "\nbroker=" + broker + "\n"}} {
		if strings.Count(script, place[0]) != 1 {
			t.Fatalf("the script does not hold %q once", place[0])
		}
		script = strings.Replace(script, place[0], place[1], 1)
	}
	if err := os.WriteFile(s.script, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *starter) write(content []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.data, "mosquitto.db"), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start runs the script and returns its report; the broker must have run after it.
func (s *starter) start() (mosquitto.DatabaseReport, string) {
	s.t.Helper()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(s.t.Context(), "/bin/sh", s.script)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil || out.String() != "broker -c /mosquitto/config/mqtunnel.conf\n" {
		s.t.Fatalf("start: %v, broker said %q\n%s", err, out.String(), log.String())
	}
	for line := range strings.Lines(log.String()) {
		if r, ok := mosquitto.ParseDatabaseReport(mosquitto.ParseLine(line)); ok {
			return r, log.String()
		}
	}
	s.t.Fatalf("no report in:\n%s", log.String())
	return mosquitto.DatabaseReport{}, ""
}

// copies returns the names of the copies and what each holds.
func (s *starter) copies() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(s.data, "copies"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(s.data, "copies", e.Name()))
		if err != nil {
			s.t.Fatal(err)
		}
		found[e.Name()] = string(content)
	}
	return found
}

func names(copies map[string]string) []string {
	var n []string
	for name := range copies {
		n = append(n, name)
	}
	slices.Sort(n)
	return n
}

func TestStartKeepsTheNewestAndTheFullestCopies(t *testing.T) {
	s := newStarter(t)
	if r, _ := s.start(); r.State != mosquitto.DatabaseNew || r.Copies != 0 || r.Loss != nil {
		t.Errorf("without a database: %+v", r)
	}
	for i, step := range []struct {
		retained int
		payload  string
		want     []string
	}{
		{5, "a", []string{"1-retained-5.db"}},
		{5, "a", []string{"1-retained-5.db"}}, // nothing changed, no copy
		{9, "b", []string{"1-retained-5.db", "2-retained-9.db"}},
		{8, "c", []string{"1-retained-5.db", "2-retained-9.db", "3-retained-8.db"}},
		{7, "d", []string{"2-retained-9.db", "3-retained-8.db", "4-retained-7.db"}},
		{6, "e", []string{"2-retained-9.db", "4-retained-7.db", "5-retained-6.db"}},
		{9, "f", []string{"4-retained-7.db", "5-retained-6.db", "6-retained-9.db"}},
		{9, "g", []string{"5-retained-6.db", "6-retained-9.db", "7-retained-9.db"}},
	} {
		s.write(database(step.retained, step.payload))
		r, log := s.start()
		if r.State != mosquitto.DatabaseOK || int(r.Retained) != step.retained || r.Loss != nil || r.Copies != len(step.want) {
			t.Errorf("step %d: %+v\n%s", i, r, log)
		}
		if diff := cmp.Diff(step.want, names(s.copies())); diff != "" {
			t.Errorf("step %d, copies (-want +got):\n%s", i, diff)
		}
	}
	if got := s.copies()["7-retained-9.db"]; got != string(database(9, "g")) {
		t.Errorf("the newest copy is not the database")
	}
}

// Mosquitto 2.1 overwrites a damaged database with what it could read, exits, and is
// started again by Docker, as often as it takes.
func TestCopiesSurviveAnyNumberOfStartsAfterALoss(t *testing.T) {
	whole := database(10, strings.Repeat("x", 500))
	for name, loss := range map[string]struct {
		content []byte // nil: no file
		state   mosquitto.DatabaseState
	}{
		"cut by 20 bytes":   {whole[:len(whole)-20], mosquitto.DatabaseDamaged},
		"cut in the middle": {whole[:len(whole)/2], mosquitto.DatabaseDamaged},
		"zeroes at the end": {append(slices.Clone(whole), make([]byte, 512)...), mosquitto.DatabaseDamaged},
		"all zeroes":        {make([]byte, len(whole)), mosquitto.DatabaseDamaged},
		"emptied":           {database(0, ""), mosquitto.DatabaseShrunk},
		"most gone":         {database(4, "x"), mosquitto.DatabaseShrunk},
		"no byte":           {[]byte{}, mosquitto.DatabaseEmpty},
		"no file":           {nil, mosquitto.DatabaseMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStarter(t)
			for _, p := range []string{"a", "b"} {
				s.write(database(9, p))
				s.start()
			}
			s.write(whole)
			s.start()
			good := s.copies()

			if loss.content == nil {
				if err := os.Remove(filepath.Join(s.data, "mosquitto.db")); err != nil {
					t.Fatal(err)
				}
			} else {
				s.write(loss.content)
			}
			r, log := s.start()
			if r.State != loss.state || r.Loss == nil || r.Loss.Retained < 10 || r.String() == "" {
				t.Fatalf("report %+v, want state %s and the loss of 10\n%s", r, loss.state, log)
			}
			for i := range 10 {
				s.write(database(i%9, fmt.Sprint("saved again ", i)))
				r, log = s.start()
				if r.Loss == nil || !strings.Contains(log, "warning: ") {
					t.Fatalf("start %d does not tell the loss any more:\n%s", i, log)
				}
			}
			now := s.copies()
			for name, content := range good {
				if now[name] != content {
					t.Errorf("copy %s is gone; there are %q", name, names(now))
				}
			}
			if len(now) > len(good)+3 { // one from after the loss, the note, the damaged file
				t.Errorf("copies pile up: %q", names(now))
			}
			s.write(database(11, strings.Repeat("x", 500)))
			if r, log := s.start(); r.Loss != nil || r.Copies > 4 {
				t.Errorf("the loss is told though everything is back:\n%s", log)
			}
		})
	}
}

func TestALossThatIsMeantCanBeDismissed(t *testing.T) {
	s := newStarter(t)
	s.write(database(10, "x"))
	s.start()
	s.write(database(2, "x"))
	if r, _ := s.start(); r.Loss == nil {
		t.Fatalf("no loss in %+v", r)
	}
	if err := os.Remove(filepath.Join(s.data, "copies", "lost")); err != nil {
		t.Fatal(err)
	}
	if r, log := s.start(); r.Loss != nil {
		t.Errorf("told again:\n%s", log)
	}
}

func TestTheStartDoesNotDependOnCopies(t *testing.T) {
	s := newStarter(t)
	s.write(database(3, "x"))
	if err := os.WriteFile(filepath.Join(s.data, "copies"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, log := s.start()
	if r.State != mosquitto.DatabaseOK || r.Copies != 0 || !strings.Contains(log, "mqtunnel: warning: no copy") {
		t.Errorf("%+v\n%s", r, log)
	}
}

func TestUnknownFormatsAreCopiedAndJudgedBySize(t *testing.T) {
	s := newStarter(t)
	later := database(3, strings.Repeat("x", 1000))
	later[22] = 7
	s.write(later)
	if r, log := s.start(); r.State != mosquitto.DatabaseUnknown || r.Copies != 1 || r.Loss != nil {
		t.Errorf("%+v\n%s", r, log)
	}
	s.write(later[:100])
	if r, log := s.start(); r.State != mosquitto.DatabaseShrunk || r.Loss == nil {
		t.Errorf("%+v\n%s", r, log)
	}
}

func TestNothingStartsOnADatabaseThatIsNoFile(t *testing.T) {
	for _, kind := range []string{"directory", "link"} {
		s := newStarter(t)
		path := filepath.Join(s.data, "mosquitto.db")
		err := os.Mkdir(path, 0o700)
		if kind == "link" {
			err = os.Remove(path)
			if err == nil {
				err = os.Symlink("elsewhere", path)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "/bin/sh", s.script).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "mqtunnel: error: ") || strings.Contains(string(out), "broker -c") {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
	}
}

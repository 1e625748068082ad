package render_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/config"
	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

func TestAPersonsEditIsSeen(t *testing.T) {
	ours := string(rendered(t, base()))
	later := base()
	later.Previous = []byte(ours)
	later.Passwd = strings.Replace(later.Passwd, "aGFzaA==", "b3RoZXI=", 1)
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"as written", ours, false},
		{"another hash", string(rendered(t, later)), false},
		{"line ends of Windows", strings.ReplaceAll(ours, "\n", "\r\n"), false},
		{"empty", "\n", false},
		{"a value", strings.Replace(ours, "30s", "5s", 1), true},
		{"a comment", strings.Replace(ours, "# The MQTT broker", "# My MQTT broker", 1), true},
		{"a line more", ours + "x-mine: 1\n", true},
		{"a user more", strings.Replace(ours, "mqtunnel-probe:", "eve:$$7$$1$$a$$b\n      mqtunnel-probe:", 1), true},
		{"the configuration", strings.Replace(ours, "allow_anonymous false", "allow_anonymous true", 1), true},
		{"another checksum", strings.Replace(ours, "# checksum: ", "# checksum: 0", 1), true},
		{"no header", "services: {}\n", true},
	} {
		if got := render.Edited([]byte(c.text)); got != c.want {
			t.Errorf("%s: Edited = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestADifferenceShowsNoSecret(t *testing.T) {
	const plain = "hunter2hunter2"
	in := base()
	in.Conf += "connection cloud\nremote_password " + plain + "\nbridge_psk " + plain + "\n# remote_password " + plain + "\n#bridge_psk " + plain + "\n"
	ours := rendered(t, in)
	for _, line := range []string{
		"mqtt_password: " + plain,
		"      - MQTT_PASSWORD=" + plain,
		"      TUNNEL_TOKEN: \"" + plain + "\"",
		"    command: tunnel run --token " + token,
		"    command: [\"tunnel\", \"run\", \"--token\", \"" + plain + "\"]",
		"    test: [\"CMD\", \"mosquitto_sub\", \"-P\", \"" + plain + "\"]",
		"    test: mosquitto_sub -u a -P '" + plain + "' -t x",
		"      dave:$$6$$c2FsdA==$$" + plain,
		"      dave:$7$101$c2FsdA==$" + plain,
		"    x: mqtt://user:" + plain + "@host:1883",
		"    just " + token + " here",
		"      api_secret=" + plain,
	} {
		text, differs := render.Diff([]byte("a: b\n"+line+"\n"), ours)
		if !differs || strings.Contains(text, plain) || strings.Contains(text, token) {
			t.Errorf("line %q: differs %v, text shows a secret:\n%s", line, differs, text)
		}
		if strings.Contains(text, "aGFzaA") {
			t.Errorf("a hash of our own is shown:\n%s", text)
		}
	}
}

func TestAPasswordInTextThatIsNoBlockIsHidden(t *testing.T) {
	const plain = "hunter2hunter2"
	for _, odd := range []string{"   \n", "\x1b\n", "\u0085\n", "\xff\n"} {
		in := base()
		in.Conf += "remote_password " + plain + "\n" + odd
		ours := rendered(t, in)
		if text, _ := render.Diff(nil, ours); strings.Contains(text, plain) {
			t.Errorf("with %q in the file the password is shown:\n%s", odd, text)
		}
		in.Conf = strings.Replace(in.Conf, plain, "another", 1)
		header := func(text []byte) string { return strings.SplitN(string(text), "checksum: ", 2)[1][:32] }
		if header(rendered(t, in)) != header(ours) {
			t.Errorf("with %q in the file the checksum tells about the password", odd)
		}
	}
}

func TestADifferenceShowsWhatWasEdited(t *testing.T) {
	ours := rendered(t, base())
	edited := bytes.Replace(ours, []byte("mem_limit: 256m"), []byte("mem_limit: 1g"), 1)
	text, differs := render.Diff(edited, ours)
	if !differs || !strings.Contains(text, "\n-    mem_limit: 1g\n+    mem_limit: 256m\n") || !strings.HasPrefix(text, "--- compose.yaml\n+++ ") {
		t.Errorf("Diff = %v:\n%s", differs, text)
	}
	for _, safe := range []string{"TUNNEL_TOKEN_FILE: /run", "password_file /mosquitto", "source: tunnel_token"} {
		whole, _ := render.Diff(nil, ours)
		if !strings.Contains(whole, safe) {
			t.Errorf("%q is hidden, and is no secret", safe)
		}
	}
	if text, differs := render.Diff(ours, ours); differs || text != "" {
		t.Errorf("the same file differs from itself: %s", text)
	}
}

func TestBothReadersOfEnvAgreeOrTheLineIsNamed(t *testing.T) {
	for _, c := range []struct {
		text string
		line int // of the difference in KEY, 0 for none
		key  string
	}{
		{"KEY=plain", 0, ""},
		{"KEY='a$b'", 0, ""},
		{"\ufeffKEY=b", 0, ""},
		{"KEY=a==\r\nB=c\r\n", 0, ""},
		{"# x\nKEY=pa$$word\n", 2, "KEY"},
		{"KEY=a$HOME\n", 1, "KEY"},
		{"KEY=${NOPE:-def}", 1, "KEY"},
		{"KEY=b\t# c\n", 1, "KEY"},
		{"export KEY='it\\'s'\n", 1, "KEY"},
		{"KEY=\"say \\\"hi\\\"\"\n", 1, "KEY"},
		{"OTHER=pa$$word\nKEY=x\n", 0, ""},
		{"SET=pa$$word\nKEY=x\n", 0, ""},
		{"A=1\nA B=x\nKEY=x\n", 2, ""},
		{"A='1\n2'\nB=${\nKEY=x\n", 3, ""},
		{"B=\"${A:?gone}\"\r\nKEY=x\n", 1, ""},
	} {
		got := render.Dialects([]byte(c.text), []string{"KEY", "SET"}, map[string]string{"HOME": "/root", "SET": "by the environment"})
		if c.line == 0 {
			if len(got) != 0 {
				t.Errorf("%q: %v, want no difference", c.text, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Line != c.line || got[0].Key != c.key || got[0].Fix == "" {
			t.Errorf("%q: %+v, want one in line %d for %q", c.text, got, c.line, c.key)
		}
	}
}

func TestADifferenceInEnvHoldsNoValue(t *testing.T) {
	const value = "hunter2"
	for _, text := range []string{"KEY=" + value + "$$x", "KEY=\"" + value, "A B=" + value, "KEY='" + value + "\\'s'"} {
		for _, d := range render.Dialects([]byte(text), []string{"KEY"}, nil) {
			if strings.Contains(d.String()+d.Fix, value) {
				t.Errorf("%q: %s, %s", text, d, d.Fix)
			}
		}
		if _, err := render.Environment(nil, []byte(text)); err != nil && strings.Contains(err.Error()+remedy.HintOf(err), value) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// setReads sets K in text as config does and returns what config made of it, and
// whether Docker Compose's own reader finds the same.
func setReads(t *testing.T, text, value string) {
	t.Helper()
	file, err := config.ParseEnv([]byte(text))
	if err != nil || file.Set("K", secret.New(value)) != nil {
		return // refused, with a reason
	}
	if _, err := render.Environment(nil, []byte(text)); err != nil {
		return // refused as it was, with the line
	}
	edited := file.Text().Reveal()
	env, err := render.Environment(nil, []byte(edited))
	if err != nil {
		t.Errorf("%q with K=%q: Docker Compose cannot read %q: %v", text, value, edited, err)
		return
	}
	if got, ok := env["K"]; !ok || got != value {
		t.Errorf("%q with K=%q: Docker Compose reads %q in %q", text, value, got, edited)
	}
	if d := render.Dialects([]byte(edited), []string{"K"}, nil); len(d) != 0 {
		t.Errorf("%q with K=%q: %v", text, value, d)
	}
}

func TestALineThatComposeCannotReadIsNumbered(t *testing.T) {
	_, err := render.Environment(nil, []byte("# one\nA=1\n\nB=${\nC=1\n"))
	if err == nil || err.Error() != ".env:4: Docker Compose cannot read this line" {
		t.Errorf("error %v", err)
	}
}

func FuzzWhatIsSetReadsTheSameInDockerCompose(f *testing.F) {
	for _, text := range []string{
		"", "A=1\nK=old # c\n", "export K='x\ny' # z\r\nB: 2", "\ufeff#K=\nK=1\nK=\"2\"\n", "K= # c", "K=x # y # z", "export  K =  'v'", "A=$K\n",
		"K=a$b", "# it's\nK: x", "A='x'\nK=1\nB=\"y\"", "A=\"\\n\"\nK=",
	} {
		for _, value := range []string{
			"", "plain", "two words", "a$b$${c}`d", "#a", "a #b", `a"b\c`, "it's", "ab+/c==", `\n`, "é\u00a0ü", " space ", "a=b:c", `"`, `\\x`, "${K}", "'", "a,b;c&d|e", "\u2028",
		} {
			f.Add(text, value)
		}
	}
	f.Fuzz(setReads)
}

func TestTheProcessEnvironmentWins(t *testing.T) {
	env, err := render.Environment(map[string]string{"A": "process", "P": "p"}, []byte("A=file\nB=file\nC=$P\n"))
	if diff := cmp.Diff(map[string]string{"A": "process", "B": "file", "C": "p", "P": "p"}, env); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func FuzzDialectsNeverCrashAndNameALine(f *testing.F) {
	for _, seed := range []string{"A=b", "A='x'y\n", "\ufeffA=1", "A=\"$B", "A\nB=$$", "export A"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range render.Dialects([]byte(text), []string{"A"}, nil) {
			if d.Line < 0 || d.Line > strings.Count(text, "\n")+2 {
				t.Errorf("%q: line %d", text, d.Line)
			}
		}
		_, _ = render.Environment(nil, []byte(text)) // whether it reads is not the question
	})
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestFilesAreWrittenWholeAndPrivate(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "compose.yaml", "old")
	if err := os.Chmod(filepath.Join(dir, "compose.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	targets := []render.Target{
		{Name: "mosquitto/passwd", Data: []byte("p"), Mode: render.ModePrivate},
		{Name: "compose.yaml", Data: []byte("new"), Mode: render.ModePrivate},
		{Name: ".gitignore", Data: render.GitIgnore(), Mode: render.ModePublic},
	}
	if err := render.Write(dir, targets...); err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		path := filepath.Join(dir, target.Name)
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(text, target.Data) || mode(t, path) != target.Mode {
			t.Errorf("%s: %q, %v, mode %v, want %v", target.Name, text, err, mode(t, path), target.Mode)
		}
	}
	for _, place := range []string{"", "mosquitto"} {
		if left, _ := filepath.Glob(filepath.Join(dir, place, "*.mqtunnel-new-*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestALinkOutOfTheDirectoryIsNotRead(t *testing.T) {
	outside := t.TempDir()
	put(t, outside, "victim", "whole")
	for _, name := range []string{"compose.yaml", "mosquitto/passwd", "mosquitto/acl", "mosquitto/conf.d/a.conf"} {
		dir := t.TempDir()
		put(t, dir, name, "")
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(outside, "victim"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := render.ReadDirectory(dir); remedy.CodeOf(err) != remedy.Input || !strings.HasPrefix(err.Error(), "read "+name+": ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestAnOverrideMayBeALink(t *testing.T) {
	elsewhere, dir := t.TempDir(), t.TempDir()
	put(t, elsewhere, "mine.yaml", "services: {}\n")
	if err := os.Symlink(filepath.Join(elsewhere, "mine.yaml"), filepath.Join(dir, "compose.override.yaml")); err != nil {
		t.Fatal(err)
	}
	if name, text, err := render.Override(dir); name != "compose.override.yaml" || string(text) != "services: {}\n" || err != nil {
		t.Errorf("Override = %q, %q, %v", name, text, err)
	}
}

func TestAFileThatIsMissingIsNoError(t *testing.T) {
	if d, err := render.ReadDirectory(t.TempDir()); err != nil || d.Existing != nil || len(d.Conf) != 0 {
		t.Errorf("ReadDirectory = %v, %v, want nothing and no error", d, err)
	}
}

func TestConfDIsReadInTheOrderOfNames(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "mosquitto/conf.d/b.conf", "max_keepalive 60\n")
	put(t, dir, "mosquitto/conf.d/a.conf", "sys_interval 20\n")
	put(t, dir, "mosquitto/conf.d/note.txt", "allow_anonymous true\n")
	d, err := render.ReadDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Conf) != 2 || d.Conf[0].Name != "a.conf" || d.Conf[1].Name != "b.conf" {
		t.Errorf("conf.d reads as %v", d.Conf)
	}
	put(t, dir, "mosquitto/conf.d/c.conf", "\nallow_anonymous true\n")
	if _, err := render.ReadDirectory(dir); err == nil || remedy.CodeOf(err) != remedy.Input || !strings.Contains(err.Error(), "c.conf:2") {
		t.Errorf("a directive that undoes ours: %v", err)
	}
}

// git runs git in dir with a configuration of its own.
func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func TestSecretsInGitAreSeen(t *testing.T) {
	repo := t.TempDir()
	dir := filepath.Join(repo, "home", "mqtt")
	put(t, dir, ".env", "x")
	put(t, dir, "mosquitto/passwd", "x")
	put(t, repo, "a", "x")
	put(t, repo, "compose.yaml", "of another project")
	git(t, repo, "init", "-q")
	check := func(when string, want render.Exposure) {
		t.Helper()
		got, err := render.CheckGit(dir)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got):\n%s", when, err, diff)
		}
	}
	check("nothing added", render.Exposure{Missing: true})
	git(t, repo, "add", "a", "compose.yaml", "home/mqtt/.env", "home/mqtt/mosquitto/passwd")
	put(t, repo, "b", "x")
	git(t, repo, "add", "-N", "b") // an entry with extended flags before those that matter
	check("added", render.Exposure{Missing: true, Tracked: []string{".env", "mosquitto/passwd"}})
	git(t, repo, "rm", "-q", "--cached", "home/mqtt/.env", "home/mqtt/mosquitto/passwd")
	put(t, dir, ".gitignore", ".env*\n/mosquitto/\n")
	check("removed", render.Exposure{Unlisted: []string{"compose.yaml"}})
	put(t, dir, ".gitignore", string(render.GitIgnore()))
	check("ignored", render.Exposure{})
}

func TestOutsideARepositoryOnlyTheFileIsMissed(t *testing.T) {
	dir := t.TempDir()
	got, err := render.CheckGit(dir)
	if err != nil || !got.Missing || len(got.Warnings()) != 0 {
		t.Errorf("CheckGit = %+v, %v", got, err)
	}
}

// An index is whatever somebody's repository holds.
func FuzzAnyGitIndexIsReadToAnEnd(f *testing.F) {
	repo := f.TempDir()
	if err := os.Mkdir(filepath.Join(repo, ".git"), 0o700); err != nil {
		f.Fatal(err)
	}
	entry := "DIRC\x00\x00\x00\x02\x00\x00\x00\x01" + strings.Repeat("\x00", 60) + "\x00\x04.env" + strings.Repeat("\x00", 6)
	f.Add([]byte(entry))
	f.Add([]byte(strings.Replace(entry, "\x00\x04.env", "\x40\x04\x00\x00.env", 1)))
	f.Add([]byte(entry[:70]))
	f.Add([]byte("DIRC\x00\x00\x00\x03\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, index []byte) {
		if err := os.WriteFile(filepath.Join(repo, ".git", "index"), index, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := render.CheckGit(repo)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range got.Tracked {
			if !bytes.Contains(index, []byte(name)) {
				t.Errorf("%s is said to be tracked by %q", name, index)
			}
		}
	})
}

func TestNobodyIsWithoutTheirRightsWhileFilesAreWritten(t *testing.T) {
	const probe, phone, tablet = "mqtunnel-probe:x\n", "phone:x\n", "tablet:x\n"
	for _, c := range []struct{ name, before, after, want string }{
		{"nobody was there", "", probe + phone, "compose.yaml mosquitto/acl mosquitto/passwd"},
		{"one comes", probe, probe + phone, "compose.yaml mosquitto/acl mosquitto/passwd"},
		{"one goes", probe + phone, probe, "compose.yaml mosquitto/passwd mosquitto/acl"},
		{"one goes as another comes", probe + phone, probe + tablet, "compose.yaml mosquitto/passwd mosquitto/acl"},
		{"another password", probe + phone, probe + "phone:y\n", "compose.yaml mosquitto/acl mosquitto/passwd"},
	} {
		dir := t.TempDir()
		if c.before != "" {
			if err := render.Write(dir, render.Target{Name: render.PasswdName, Data: []byte(c.before), Mode: render.ModePrivate}); err != nil {
				t.Fatal(err)
			}
		}
		d, err := projectdir.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		targets, err := render.Rendered{Passwd: []byte(c.after)}.Targets(d)
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, target := range targets {
			order = append(order, target.Name)
		}
		if got := strings.Join(order, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

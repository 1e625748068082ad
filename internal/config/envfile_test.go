package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/joho/godotenv"

	"mqtunnel/internal/config"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

func parse(t *testing.T, text string) *config.EnvFile {
	t.Helper()
	f, err := config.ParseEnv([]byte(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return f
}

func TestAnEditLeavesEverythingElse(t *testing.T) {
	for name, c := range map[string]struct{ before, value, after string }{
		"empty file":         {"", "v", "K=v\n"},
		"new key":            {"# top\nA=1\n", "v", "# top\nA=1\nK=v\n"},
		"no final newline":   {"A=1", "v", "A=1\nK=v\n"},
		"CRLF":               {"A=1\r\nB=2\r\n", "v", "A=1\r\nB=2\r\nK=v\r\n"},
		"empty value":        {"K=\nA=1\n", "v", "K=v\nA=1\n"},
		"in place":           {"A=1\nK=old\nB=2\n", "v", "A=1\nK=v\nB=2\n"},
		"in place, CRLF":     {"A=1\r\nK=old\r\nB=2\r\n", "v", "A=1\r\nK=v\r\nB=2\r\n"},
		"last, no newline":   {"A=1\nK=old", "v", "A=1\nK=v"},
		"export":             {"export K=old\n", "v", "export K=v\n"},
		"indented, spaces":   {"  K = old \n", "v", "  K=v\n"},
		"YAML":               {"K: old\n", "v", "K=v\n"},
		"quoted":             {"K=\"old # no comment\"\n", "v", "K=v\n"},
		"quoted over lines":  {"A='x\nK=no\ny'\nK='old\nstill'\nB=2\n", "v", "A='x\nK=no\ny'\nK=v\nB=2\n"},
		"comment behind":     {"K=old # mine\n", "v", "K=v # mine\n"},
		"comment, no value":  {"K= # put it here\n", "v", "K=v # put it here\n"},
		"comment with hash":  {"K=old # see #5\n", "v", "# see #5\nK=v\n"},
		"comment, quoted":    {"K='old' # mine\n", "v", "K=v # mine\n"},
		"example":            {"# K=example\nA=1\n", "v", "# K=example\nK=v\nA=1\n"},
		"example at the end": {"A=1\n#K=", "v", "A=1\n#K=\nK=v\n"},
		"example, CRLF":      {"#K=x\r\nA=1\r\n", "v", "#K=x\r\nK=v\r\nA=1\r\n"},
		"not this example":   {"# KK=example\nA=1\n", "v", "# KK=example\nA=1\nK=v\n"},
		"twice":              {"K=1\nA=1\nK=2 # keep\n", "v", "A=1\nK=v # keep\n"},
		"BOM":                {"\ufeffK=1\nA=2\n", "v", "\ufeffK=v\nA=2\n"},
		"BOM alone":          {"\ufeff", "v", "\ufeffK=v\n"},
		"space in it":        {"K=\n", "two words", "K='two words'\n"},
		"dollar":             {"K=\n", "a$b$$c`d", "K='a$b$$c`d'\n"},
		"hash":               {"K=\n", "#a", "K='#a'\n"},
		"double quote":       {"K=\n", `a"b\c`, `K='a"b\c'` + "\n"},
		"single quote":       {"K=\n", "it's", `K="it's"` + "\n"},
		"base64":             {"K=\n", "ab+/c==", "K=ab+/c==\n"},
		"emptied":            {"K=old\n", "", "K=\n"},
	} {
		f := parse(t, c.before)
		if err := f.Set("K", secret.New(c.value)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.after, f.Text().Reveal()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if got, ok := f.Lookup("K"); !ok || got.Reveal() != c.value {
			t.Errorf("%s: reads back as %q", name, got.Reveal())
		}
	}
}

func TestWhatCannotStandInTheFileIsRefused(t *testing.T) {
	for _, value := range []string{"a\nb", "a\rb", "a\x00b", "\x1b[31m", `it's "so"`, "it's $5", `'\`, "end\\", "\xff"} {
		f := parse(t, "A=1\nK=old\n")
		err := f.Set("K", secret.New(value))
		if remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" || strings.Contains(err.Error(), value) {
			t.Errorf("%q: error %v", value, err)
		}
		if f.Text().Reveal() != "A=1\nK=old\n" {
			t.Errorf("%q: the text changed: %q", value, f.Text().Reveal())
		}
	}
	if err := parse(t, "").Set("A B", secret.New("x")); err == nil {
		t.Error("a key with a space is set")
	}
}

func TestUnsetRemovesTheLineAndKeepsComments(t *testing.T) {
	for before, after := range map[string]string{
		"A=1\nK=v\nB=2\n":             "A=1\nB=2\n",
		"K=v":                         "",
		"A=1\r\nK=v # mine\r\nB=2":    "A=1\r\n# mine\r\nB=2",
		"K=1\nA=1\nexport K='x\ny'\n": "A=1\n",
		"# K=v\nA=1\n":                "# K=v\nA=1\n",
	} {
		f := parse(t, before)
		was, err := f.Unset("K")
		if err != nil || f.Text().Reveal() != after || was != (before != after) {
			t.Errorf("%q: got %q, %v, %v; want %q", before, f.Text().Reveal(), was, err, after)
		}
	}
}

func TestABrokenFileIsNamedByLineAndNotQuoted(t *testing.T) {
	const token = "TOKEN=hush-hush"
	for text, line := range map[string]string{
		"A=1\nnonsense\n" + token:             ".env:2:",
		"A=1\n\n# c\n=x\n" + token:            ".env:4:",
		"A='x\ny'\nB C=1\n" + token:           ".env:3:",
		"A=1\nMY-KEY=x\n" + token:             ".env:2:",
		"A=1\nexport =1\n" + token:            ".env:2:",
		"export A\n" + token:                  ".env:1:",
		"A=\"open\n" + token:                  ".env:1:",
		"A=1\nB='x'y\n" + token:               ".env:2:",
		"A=1\rB=2\n" + token:                  ".env:1:",
		"A=1\nB=\u00a0x\n" + token:            ".env:2:",
		"A=1\nB=\"x\\\\\"\n" + token:          ".env:2:",
		"\xff\xfeA\x00" + token:               ".env is not text",
		token + "\nKEY":                       ".env:2:",
		"A=1\r\nB=2\r\nnonsense\r\n" + token:  ".env:3:",
		"\u2028A=1\n" + token:                 ".env:1:",
		"A=1\n" + token + "\n- list: of\n":    ".env:3:",
		"{\"TOKEN\":\"hush-hush\",\"x\":[1]}": ".env:1:",
	} {
		_, err := config.ParseEnv([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), line) || remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
			t.Errorf("%q: error %v, want %s…", text, err, line)
		}
		if err != nil && strings.Contains(err.Error()+remedy.HintOf(err), "hush") {
			t.Errorf("%q: the error quotes the file: %v", text, err)
		}
	}
}

func FuzzEnv(f *testing.F) {
	for _, text := range []string{
		"", "A=1\nK=old # c\n", "export K='x\ny' # z\r\nB: 2", "\ufeff#K=\nK=1\nK=\"2\"\n", "A=$K\nK=\\$x", "K= # c", "A='it\\'s'\nK=x",
		"A=\"x\\ny\"", "K:=x", "K=x#y", "K=x # y # z", "#K=1", "export =1", "export=1\nexport  K =  'v'",
	} {
		f.Add(text, "value")
		f.Add(text, "two 'words' $x")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		file, err := config.ParseEnv([]byte(text))
		if err != nil {
			if remedy.HintOf(err) == "" {
				t.Errorf("%q: %v without a hint", text, err)
			}
			return
		}
		before := readings(t, text)
		for _, a := range file.Assignments() {
			if _, ok := before[a.Key]; !ok {
				t.Errorf("%q: %s is no key to godotenv", text, a.Key)
			}
		}
		if len(file.Assignments()) < len(before) {
			t.Errorf("%q: godotenv reads %d keys", text, len(before))
		}
		if err := file.Set("K", secret.New(value)); err != nil {
			return
		}
		after := readings(t, file.Text().Reveal())
		if after["K"] != value {
			t.Errorf("%q: K=%q reads back as %q", text, value, after["K"])
		}
		delete(before, "K")
		delete(after, "K")
		if !strings.Contains(text, "$") { // else another value may contain K's
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%q with K=%q: other keys changed:\n%s", text, value, diff)
			}
		}
		if _, err := file.Unset("K"); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if _, ok := readings(t, file.Text().Reveal())["K"]; ok {
			t.Errorf("%q: K is still there", text)
		}
	})
}

// readings is what the library makes of the text.
func readings(t *testing.T, text string) map[string]string {
	t.Helper()
	values, err := godotenv.Unmarshal(strings.TrimPrefix(text, "\ufeff"))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return values
}

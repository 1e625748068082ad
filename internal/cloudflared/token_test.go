package cloudflared_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/remedy"
)

// The one token that the good pastes hold. It is synthetic.
const (
	testAccount = "0123456789abcdef0123456789abcdef"
	testTunnel  = "11111111-2222-4333-8444-555555555555"
	testSecret  = "synthetic-secret-for-tests-only!"
)

func encode(json string) string { return base64.StdEncoding.EncodeToString([]byte(json)) }

func testToken() string {
	return encode(`{"a":"` + testAccount + `","t":"` + testTunnel + `","s":"` + encode(testSecret) + `"}`)
}

// verdicts names the errors as testdata/pastes/INDEX does.
func verdicts() map[string]error {
	return map[string]error{
		"Empty": cloudflared.ErrTokenEmpty, "Missing": cloudflared.ErrTokenMissing, "Form": cloudflared.ErrTokenForm,
		"Cut": cloudflared.ErrTokenCut, "Extra": cloudflared.ErrTokenExtra, "Tail": cloudflared.ErrTokenTail, "Garbled": cloudflared.ErrTokenGarbled,
		"URL": cloudflared.ErrTokenURL, "Two": cloudflared.ErrTokenTwo, "Fields": cloudflared.ErrTokenFields,
		"Account": cloudflared.ErrTokenAccount, "UUID": cloudflared.ErrTokenUUID, "Secret": cloudflared.ErrTokenSecret,
		"Short": cloudflared.ErrTokenShort, "Shortened": cloudflared.ErrTokenShortened, "APIToken": cloudflared.ErrTokenAPIToken,
		"APIKey": cloudflared.ErrTokenAPIKey, "OriginKey": cloudflared.ErrTokenOriginKey, "TunnelID": cloudflared.ErrTokenTunnelID,
		"AccountTag": cloudflared.ErrTokenAccountTag, "Credentials": cloudflared.ErrTokenCredentials,
		"Certificate": cloudflared.ErrTokenCertificate, "JWT": cloudflared.ErrTokenJWT, "APIError": cloudflared.ErrTokenAPIError,
		"Hostname": cloudflared.ErrTokenHostname, "Placeholder": cloudflared.ErrTokenPlaceholder, "TooLong": cloudflared.ErrTokenTooLong,
	}
}

type paste struct{ name, text, verdict, message string }

// pastes reads testdata/pastes: one file a paste. INDEX has a line for each: its
// name, the verdict ("token" or the name of the error) and the error's text.
func pastes(tb testing.TB) []paste {
	tb.Helper()
	dir := filepath.Join("testdata", "pastes")
	index, err := os.ReadFile(filepath.Join(dir, "INDEX"))
	if err != nil {
		tb.Fatal(err)
	}
	var out []paste
	for line := range strings.Lines(string(index)) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 3 {
			tb.Fatalf("INDEX: %q", line)
		}
		name := columns[0]
		text, err := os.ReadFile(filepath.Join(dir, name+".txt"))
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, paste{name, string(text), columns[1], columns[2]})
	}
	return out
}

func TestWhatPeoplePasteIsReadOrNamed(t *testing.T) {
	all := pastes(t)
	if len(all) < 60 {
		t.Fatalf("only %d pastes", len(all))
	}
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			got, err := cloudflared.FindToken(p.text)
			if p.verdict != "token" {
				if want := verdicts()[p.verdict]; !errors.Is(err, want) || err.Error() != p.message {
					t.Fatalf("%q: error %v, want %v, in INDEX %q", p.text, err, want, p.message)
				}
				checkFault(t, err, p.text)
				return
			}
			if err != nil {
				t.Fatalf("%q: %v", p.text, err)
			}
			if got.AccountTag != testAccount || got.TunnelID != testTunnel || got.TunnelSecret().Reveal() != testSecret {
				t.Errorf("%q: got %+v", p.text, got)
			}
			if again, err := cloudflared.ParseToken(got.Secret().Reveal()); err != nil || again.TunnelID != got.TunnelID {
				t.Errorf("the canonical form does not parse: %v", err)
			}
			if !cloudflared.Complete(p.text) {
				t.Errorf("%q: not complete", p.text)
			}
		})
	}
}

// checkFault checks what every error about a token promises.
func checkFault(t *testing.T, err error, input string) {
	t.Helper()
	if remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
		t.Errorf("code %d, hint %q", remedy.CodeOf(err), remedy.HintOf(err))
	}
	shown := err.Error() + remedy.HintOf(err)
	for word := range strings.FieldsSeq(input) {
		for i := 0; i+12 <= len(word); i++ {
			if part := word[i : i+12]; strings.Contains(shown, part) && strings.ContainsAny(part, "0123456789") {
				t.Fatalf("the error shows %q of the input: %s", part, shown)
			}
		}
	}
}

func TestOnlyTheCanonicalFormParses(t *testing.T) {
	token := testToken()
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"canonical":       {token, nil},
		"empty":           {"", cloudflared.ErrTokenEmpty},
		"blank":           {" \n", cloudflared.ErrTokenEmpty},
		"newline":         {token + "\n", cloudflared.ErrTokenForm},
		"wrapped":         {token[:40] + "\n" + token[40:], cloudflared.ErrTokenForm},
		"space":           {token[:40] + " " + token[40:], cloudflared.ErrTokenForm},
		"quoted":          {`"` + token + `"`, cloudflared.ErrTokenForm},
		"without padding": {strings.TrimRight(token, "="), cloudflared.ErrTokenForm},
		"in a command":    {"cloudflared service install " + token, cloudflared.ErrTokenForm},
		"half":            {token[:64], cloudflared.ErrTokenCut},
		"null fields":     {encode(`{"a":null,"t":null,"s":null}`), cloudflared.ErrTokenFields},
		"nil UUID": {
			encode(`{"a":"x","t":"00000000-0000-0000-0000-000000000000","s":"` + encode(testSecret) + `"}`),
			cloudflared.ErrTokenUUID,
		},
	} {
		if _, err := cloudflared.ParseToken(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func TestATokenThatGoesOnIsNotCut(t *testing.T) {
	for _, account := range []string{"a", "ab", "abc"} { // of every length of padding
		token := strings.TrimRight(encode(`{"a":"`+account+`","t":"`+testTunnel+`","s":"`+encode(testSecret)+`"}`), "=")
		for extra := 1; extra <= 9; extra++ {
			text := token + "xyz012789"[:extra]
			if _, err := cloudflared.FindToken(text); !errors.Is(err, cloudflared.ErrTokenExtra) {
				t.Errorf("account %s and %d characters: error %v, want %v", account, extra, err, cloudflared.ErrTokenExtra)
			} else {
				checkFault(t, err, text)
			}
			if _, err := cloudflared.ParseToken("--token " + text); !errors.Is(err, cloudflared.ErrTokenExtra) {
				t.Errorf("in a command, account %s and %d characters: error %v", account, extra, err)
			}
		}
		for cut := 1; cut < len(token); cut++ {
			if _, err := cloudflared.FindToken(token[:cut]); errors.Is(err, cloudflared.ErrTokenExtra) {
				t.Errorf("account %s, the first %d characters: error %v", account, cut, err)
			}
		}
	}
}

func TestTunnelIDsAreCanonical(t *testing.T) {
	upper := strings.ToUpper("abcdef01-2222-4333-8444-555555555555")
	for _, id := range []string{upper, "{" + upper + "}", "urn:uuid:" + upper, strings.ReplaceAll(upper, "-", "")} {
		token, err := cloudflared.ParseToken(encode(`{"s":"` + encode(testSecret) + `","t":"` + id + `","a":"acc","new":1}`))
		if err != nil || token.TunnelID != strings.ToLower(upper) {
			t.Errorf("%s: %q, %v", id, token.TunnelID, err)
		}
	}
}

func TestAPromptReadsOnToTheEndOfAToken(t *testing.T) {
	token := testToken()
	for name, lines := range map[string][]string{
		"one line": {token},
		"wrapped":  {token[:50], token[50:120], token[120:]},
		"command":  {"docker run cloudflare/cloudflared \\", "  tunnel run \\", "  --token " + token[:60], token[60:]},
		"json":     {"{", `  "success": true,`, `  "result": "` + token + `"`},
	} {
		text := ""
		for i, line := range lines {
			text += line + "\n"
			last := i == len(lines)-1
			if cloudflared.Complete(text) != last {
				t.Errorf("%s, line %d: complete %v", name, i+1, !last)
			}
		}
	}
	for _, text := range []string{"", "my-password\n", testTunnel + "\n", "docker run --token\n"} {
		if cloudflared.Complete(text) {
			t.Errorf("%q: a prompt would stop as if all were there", text)
		}
	}
}

func TestAVeryLongPasteIsRefusedAtOnce(t *testing.T) {
	if _, err := cloudflared.FindToken(strings.Repeat("eyJ", 1<<20)); !errors.Is(err, cloudflared.ErrTokenTooLong) {
		t.Errorf("error %v", err)
	}
}

func FuzzToken(f *testing.F) {
	for _, p := range pastes(f) {
		f.Add(p.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := cloudflared.FindToken(text)
		if strict, strictErr := cloudflared.ParseToken(text); strictErr == nil {
			if err != nil || !strict.Secret().Equal(token.Secret()) || strict.Secret().Reveal() != text {
				t.Errorf("%q parses strictly, FindToken: %v", text, err)
			}
		}
		if err != nil {
			if remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
				t.Errorf("%q: %v without a remedy", text, err)
			}
			return
		}
		if again, err := cloudflared.ParseToken(token.Secret().Reveal()); err != nil || again.TunnelID != token.TunnelID {
			t.Errorf("%q: the canonical form does not parse: %v", text, err)
		}
		if !cloudflared.Complete(text) {
			t.Errorf("%q: found, but not complete", text)
		}
	})
}

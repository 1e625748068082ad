package mosquitto_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// Hashes of the password s3cret that mosquitto_passwd wrote: 2.0.11 with its default,
// with -I 5000 and with -H sha512, and 2.1.2 with its default.
var writtenByMosquitto = map[string]string{
	"2.0.11 default": "alice:$7$101$msny6VyT84OG3FSu$gRtE9GuMGKHhUdNf3yVigTk5rJSZQ6pCbXwtkqwp3aZpRD0xsm/RUNhD+MklF5elC12mpHi09Az1frzYEYOUJQ==",
	"2.0.11 -I 5000": "alice:$7$5000$NGSQuEEHCfKBbT3m$v7neXrSO903zHsldudDuwKN80RNEDyXO4sFLR8ujzV+qWqunakfZtO5RwJEjM5Pv3W/07LM9zUtpL6ndqyNDNg==",
	"2.0.11 sha512":  "alice:$6$5qqPfBQ+9DyF7ht5$QP4XSNUNK6005m7tMGJmU8REnBRzlGM5LIueRXq9Oe7pORDSFd7NPB4L5sNKTP9Jq90RUKgDcmTxw1Zm+qHJHg==",
	"2.1.2 default":  "alice:$7$1000$2luQ8Y/rTPQa8v2/c+ewNfnO8thqR9J+aNFWi+moeM3j/QXBTepr4O3O04Ktpne32wKVXP3Mrvo1x6VEjELCBg==$UX1pQceRtECr5QYk6sMp/vnQPY0kVZCkJgXcRzkzzlmXr/KR0B9aMFzeSKXQ8NZZ8RMNOgabd4jMkNY3eyooGw==",
}

func TestHashesOfMosquittoVerifyAndSurvive(t *testing.T) {
	for name, line := range writtenByMosquitto {
		t.Run(name, func(t *testing.T) {
			p, err := mosquitto.ParsePasswords("passwd", line+"\n")
			if err != nil {
				t.Fatal(err)
			}
			if !p.Verify("alice", secret.New("s3cret")) {
				t.Error("the right password does not verify")
			}
			for _, wrong := range []string{"s3creT", "", "s3cret "} {
				if p.Verify("alice", secret.New(wrong)) {
					t.Errorf("%q verifies", wrong)
				}
			}
			if err := p.Set("bob", secret.New("other")); err != nil {
				t.Fatal(err)
			}
			if got := p.Render().Reveal(); !strings.HasPrefix(got, line+"\nbob:$7$1000$") {
				t.Errorf("rendered:\n%s\nwant alice's line as it was, then bob", got)
			}
			wantNewer := name == "2.1.2 default"
			if got := len(p.OnlyNewer()) == 1; got != wantNewer {
				t.Errorf("OnlyNewer() = %q, want alice there: %v", p.OnlyNewer(), wantNewer)
			}
		})
	}
}

func TestBadPasswordFilesAreRefusedWithTheirLine(t *testing.T) {
	good := writtenByMosquitto["2.0.11 default"]
	hash := strings.TrimPrefix(good, "alice:")
	key := hash[strings.LastIndex(hash, "$")+1:]
	for name, bad := range map[string]string{
		"plain password":      "bob:hunter2",
		"no colon":            "bob",
		"no user":             ":" + hash,
		"blank user":          "  :" + hash,
		"no hash":             "bob:",
		"duplicate":           "alice:" + hash,
		"duplicate by blanks": " alice :" + hash,
		"argon2":              "bob:$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA",
		"unknown kind":        "bob:$8$101$msny6VyT84OG3FSu$" + key,
		"iterations 0":        "bob:$7$0$msny6VyT84OG3FSu$" + key,
		"iterations -1":       "bob:$7$-1$msny6VyT84OG3FSu$" + key,
		"iterations text":     "bob:$7$1e3$msny6VyT84OG3FSu$" + key,
		"iterations huge":     "bob:$7$99999999999$msny6VyT84OG3FSu$" + key,
		"salt of 16 bytes":    "bob:$7$101$AAAAAAAAAAAAAAAAAAAAAA==$" + key,
		"salt not base64":     "bob:$7$101$msny6VyT84OG3FS*$" + key,
		"short hash":          "bob:$7$101$msny6VyT84OG3FSu$gRtE9GuM",
		"hash cut":            "bob:" + hash[:len(hash)-3],
		"field more":          "bob:" + hash + "$x",
		"another colon":       "bob:" + hash + ":x",
		"control character":   "bo\x1bb:" + hash,
		"tab":                 "bob\t:" + hash,
		"not UTF-8":           "bo\xffb:" + hash,
		"NUL":                 "bob\x00:" + hash,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mosquitto.ParsePasswords("mosquitto/passwd", "# users\n"+good+"\n"+bad+"\n")
			if err == nil {
				t.Fatalf("%q is accepted", bad)
			}
			if !strings.HasPrefix(err.Error(), "mosquitto/passwd:3: ") {
				t.Errorf("error %q does not begin with the line", err)
			}
			if remedy.CodeOf(err) != remedy.Input {
				t.Errorf("code %d, want %d", remedy.CodeOf(err), remedy.Input)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), key[:16]) {
				t.Errorf("error %q quotes what is secret", err)
			}
		})
	}
}

func TestAByteOrderMarkIsRefusedAndTold(t *testing.T) {
	_, passwd := mosquitto.ParsePasswords("mosquitto/passwd", "\ufeff"+writtenByMosquitto["2.0.11 default"]+"\n")
	_, acl := mosquitto.ParseACL("mosquitto/acl", "\ufeffuser alice\ntopic read x\n")
	for name, err := range map[string]error{"mosquitto/passwd": passwd, "mosquitto/acl": acl} {
		if err == nil || !strings.HasPrefix(err.Error(), name+":1: the file begins with a byte order mark") || remedy.CodeOf(err) != remedy.Input {
			t.Errorf("%s: error %v, want one about the byte order mark in line 1", name, err)
		}
	}
}

func TestChangesDoNotReachACopy(t *testing.T) {
	p, err := mosquitto.ParsePasswords("passwd", writtenByMosquitto["2.0.11 default"]+"\n")
	if err != nil {
		t.Fatal(err)
	}
	acl, err := mosquitto.ParseACL("acl", "user alice\ntopic read x\nuser bob\ntopic read y\n")
	if err != nil {
		t.Fatal(err)
	}
	passwd, rules := p.Render().Reveal(), acl.Render(false)
	p2, acl2 := p.Clone(), acl.Clone()
	for _, user := range []string{"alice", "carol"} {
		if err := p.Set(user, secret.New("other")); err != nil {
			t.Fatal(err)
		}
		if err := acl.Set(user, []mosquitto.Rule{{Access: mosquitto.Deny, Filter: "#"}}); err != nil {
			t.Fatal(err)
		}
	}
	p.Remove("alice")
	acl.Remove("alice")
	if got := p2.Render().Reveal(); got != passwd {
		t.Errorf("the copy of the password file is\n%s\nwant\n%s", got, passwd)
	}
	if got := acl2.Render(false); got != rules {
		t.Errorf("the copy of the ACL file is\n%s\nwant\n%s", got, rules)
	}
}

func TestPasswordFileKeepsOrderAndComments(t *testing.T) {
	carol := strings.Replace(writtenByMosquitto["2.0.11 sha512"], "alice", "carol", 1)
	text := "# first\n" + writtenByMosquitto["2.0.11 default"] + "\n\n# kitchen\n" + carol + "\n"
	p, err := mosquitto.ParsePasswords("passwd", strings.ReplaceAll(text, "\n", "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Render().Reveal(); got != text {
		t.Errorf("rendered %q, want %q", got, text)
	}
	if !p.Remove("alice") || p.Remove("alice") || p.Remove("") {
		t.Error("Remove is true for the first time only")
	}
	if got, want := p.Render().Reveal(), "# first\n\n# kitchen\n"+carol+"\n"; got != want {
		t.Errorf("after Remove %q, want %q", got, want)
	}
}

func TestSetReplacesAndVerifies(t *testing.T) {
	p, err := mosquitto.ParsePasswords("passwd", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"first one", "pässwörd:with$signs", strings.Repeat("x", 512)} {
		if err := p.Set("phone", secret.New(password)); err != nil {
			t.Fatal(err)
		}
		if err := p.SetProbe(secret.New(password)); err != nil {
			t.Fatal(err)
		}
		q, err := mosquitto.ParsePasswords("passwd", p.Render().Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if !q.Verify("phone", secret.New(password)) || !q.Verify(mosquitto.ProbeUser, secret.New(password)) {
			t.Errorf("a password of %d bytes does not verify", len(password))
		}
	}
	if diff := cmp.Diff([]string{"phone"}, p.Users()); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

func TestNamesAndPasswordsThatCannotBeAreRefused(t *testing.T) {
	p := &mosquitto.Passwords{}
	acl := &mosquitto.ACL{}
	for _, name := range []string{
		"", "a b", "a/b", "a+", "#", "ü", "a:b", "$SYS", "%u", "a\n", mosquitto.ProbeUser, "mqtunnel",
		"MQTunnel-admin", strings.Repeat("a", 65),
	} {
		if err := p.Set(name, secret.New("long enough")); remedy.CodeOf(err) != remedy.Input {
			t.Errorf("Passwords.Set(%q) = %v, want exit code %d", name, err, remedy.Input)
		}
		if err := acl.Set(name, nil); remedy.CodeOf(err) != remedy.Input {
			t.Errorf("ACL.Set(%q) = %v, want exit code %d", name, err, remedy.Input)
		}
	}
	for _, password := range []string{"", "a\x00b", "a\nb", "\xff", strings.Repeat("x", 65536)} {
		if err := p.Set("phone", secret.New(password)); err == nil {
			t.Errorf("password %q is accepted", password)
		}
	}
	if p.Has("phone") {
		t.Error("a refused password left a user")
	}
}

func TestGeneratedPasswordsHave120Bits(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]bool{}
	for range 2000 {
		text := mosquitto.NewPassword().Reveal()
		if seen[text] {
			t.Fatalf("%s came twice", text)
		}
		seen[text] = true
		bare := strings.ReplaceAll(text, "-", "")
		if len(bare) != 24 || strings.ContainsAny(bare, "01lo") || strings.ToLower(bare) != bare {
			t.Fatalf("password %q is not 24 plain characters", text)
		}
		for _, r := range bare {
			letters[r] = true
		}
	}
	if len(letters) != 32 { // 24 characters of 32 are 120 bits
		t.Errorf("%d different characters, want 32", len(letters))
	}
}

func FuzzParsePasswords(f *testing.F) {
	for _, line := range writtenByMosquitto {
		f.Add(line + "\n# comment\n\n")
	}
	f.Add("a:b\nc")
	f.Add("alice:$7$101$$")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := mosquitto.ParsePasswords("passwd", text)
		if err != nil {
			if _, ok := errors.AsType[*remedy.Error](err); !ok {
				t.Fatalf("%v has no remedy", err)
			}
			return
		}
		once := p.Render().Reveal()
		q, err := mosquitto.ParsePasswords("passwd", once)
		if err != nil {
			t.Fatalf("does not read what it wrote: %v\n%q", err, once)
		}
		if twice := q.Render().Reveal(); twice != once {
			t.Fatalf("rendered %q, then %q", once, twice)
		}
	})
}

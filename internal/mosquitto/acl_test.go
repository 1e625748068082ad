package mosquitto_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
)

const emptyACL = `# What each user may do; what no rule allows is denied. Written by "mqtunnel user".

user mqtunnel-probe
topic readwrite mqtunnel/probe/#
topic read $SYS/#
`

func TestACLIsWrittenAsRulesOfEachUser(t *testing.T) {
	acl := &mosquitto.ACL{}
	for _, u := range []struct {
		name   string
		topics []string
	}{
		{"home", []string{"all"}},
		{"phone", []string{"own"}},
		{"sensor", []string{"sensors/+/temperature", "$SYS/broker/uptime", "two words/#"}},
	} {
		rules, err := mosquitto.TopicRules(u.name, u.topics)
		if err != nil {
			t.Fatal(err)
		}
		if err := acl.Set(u.name, rules); err != nil {
			t.Fatal(err)
		}
		want := strings.Join(u.topics, ", ")
		if u.name == "sensor" {
			want = "sensors/+/temperature, $SYS/broker/uptime (read), two words/#"
		}
		if got := mosquitto.DescribeTopics(u.name, rules); got != want {
			t.Errorf("DescribeTopics(%s) = %q, want %q", u.name, got, want)
		}
	}
	want := emptyACL + `
user home
topic readwrite #
topic read $SYS/#

user phone
topic readwrite phone/#

user sensor
topic readwrite sensors/+/temperature
topic read $SYS/broker/uptime
topic readwrite two words/#
`
	if diff := cmp.Diff(want, acl.Render(false)); diff != "" {
		t.Errorf("rendered (-want +got):\n%s", diff)
	}
	again, err := mosquitto.ParseACL("acl", want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again.Render(false)); diff != "" {
		t.Errorf("read and rendered again (-want +got):\n%s", diff)
	}
	if !acl.Remove("phone") || acl.Remove("phone") {
		t.Error("Remove is true for the first time only")
	}
	if diff := cmp.Diff([]string{"home", "sensor"}, acl.Users()); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// Without a rule in it, an ACL file would be none to Mosquitto, and everything allowed.
func TestACLWithoutUsersDeniesAndOnlyAnonymousOpensIt(t *testing.T) {
	acl := &mosquitto.ACL{}
	if diff := cmp.Diff(emptyACL, acl.Render(false)); diff != "" {
		t.Errorf("rendered (-want +got):\n%s", diff)
	}
	open := acl.Render(true)
	before, _, _ := strings.Cut(open, "\nuser ")
	if !strings.Contains(before, "\ntopic readwrite #\n") {
		t.Errorf("with anonymous clients, no right stands before the first user:\n%s", open)
	}
}

func TestDenialsStandFirst(t *testing.T) {
	acl := &mosquitto.ACL{}
	err := acl.Set("kiosk", []mosquitto.Rule{
		{Access: mosquitto.ReadWrite, Filter: "home/#"},
		{Access: mosquitto.Deny, Filter: "home/secret/#"},
		{Access: mosquitto.Read, Filter: "weather/#"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := emptyACL + "\nuser kiosk\ntopic deny home/secret/#\ntopic readwrite home/#\ntopic read weather/#\n"
	if diff := cmp.Diff(want, acl.Render(false)); diff != "" {
		t.Errorf("rendered (-want +got):\n%s", diff)
	}
}

func TestACLKeepsCommentsAndJoinsSections(t *testing.T) {
	acl, err := mosquitto.ParseACL("acl", "# the phone\nuser phone\ntopic phone/#\nuser tv\n# why\ntopic read tv\r\nuser phone\ntopic write x y\n# end\n")
	if err != nil {
		t.Fatal(err)
	}
	_, err = mosquitto.ParseACL("acl", "user a\ntopic write x\ntopic x y\n")
	if err == nil {
		t.Error("an access of x is accepted")
	}
	want := emptyACL + "\n# the phone\nuser phone\ntopic readwrite phone/#\n"
	got := acl.Render(false)
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "# why\nuser tv\ntopic read tv\n") || !strings.HasSuffix(got, "# end\n") {
		t.Errorf("rendered:\n%s", got)
	}
}

func TestTheSettingAloneDecidesAboutAnonymousClients(t *testing.T) {
	rendered := new(mosquitto.ACL).Render(true)
	if rendered == emptyACL {
		t.Fatalf("anonymous clients get no rules:\n%s", rendered)
	}
	acl, err := mosquitto.ParseACL("acl", rendered)
	if err != nil {
		t.Fatalf("what Render wrote is refused: %v\n%s", err, rendered)
	}
	if diff := cmp.Diff(emptyACL, acl.Render(false)); diff != "" {
		t.Errorf("rendered without the setting (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rendered, acl.Render(true)); diff != "" {
		t.Errorf("rendered with the setting (-want +got):\n%s", diff)
	}
	if _, err := mosquitto.ParseACL("acl", "# MQTT_ALLOW_ANONYMOUS\ntopic read #\n"); err == nil {
		t.Error("a rule of one's own is taken for the setting's")
	}
}

func TestBadACLFilesAreRefusedWithTheirLine(t *testing.T) {
	for name, bad := range map[string]string{
		"rule before the first user": "topic read #",
		"pattern":                    "pattern readwrite %u/#",
		"unknown word":               "topics read a",
		"no user":                    "user",
		"blank user":                 "user   ",
		"no topic":                   "user a\ntopic",
		"unknown access":             "user a\ntopic readwriteall a",
		"hash inside":                "user a\ntopic read a/#/b",
		"hash in a level":            "user a\ntopic read a#",
		"plus in a level":            "user a\ntopic read a/b+",
		"tab":                        "user a\ntopic\tread a",
		"control character":          "user a\ntopic read a\x01",
		"not UTF-8":                  "user a\ntopic read \xff",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mosquitto.ParseACL("mosquitto/acl", "# x\n"+bad)
			if err == nil {
				t.Fatalf("%q is accepted", bad)
			}
			line := 2 + strings.Count(bad, "\n")
			if want := "mosquitto/acl:" + string(rune('0'+line)) + ": "; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error %q does not begin with %q", err, want)
			}
		})
	}
}

func TestTopicFilters(t *testing.T) {
	for _, good := range []string{"#", "+", "/", "a", "a/#", "+/+/#", "/#", "a//b", "größe/+", "$SYS/#", "a b/c", "日本"} {
		if err := mosquitto.CheckFilter(good); err != nil {
			t.Errorf("CheckFilter(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "a#", "#/a", "a/#/b", "a+", "+a/b", "a\x00", "a\n", "a\u0085", "\xff", " a", "a ", "$share/g/a", "%u/#", "x/%c",
		strings.Repeat("a", 65536),
	} {
		if err := mosquitto.CheckFilter(bad); err == nil {
			t.Errorf("CheckFilter(%q) accepts it", bad)
		}
	}
	for _, bad := range [][]string{nil, {"all", "x"}, {"x", "own"}, {"a#"}} {
		if _, err := mosquitto.TopicRules("phone", bad); remedy.CodeOf(err) != remedy.Input {
			t.Errorf("TopicRules(%q) = %v, want exit code %d", bad, err, remedy.Input)
		}
	}
}

func FuzzParseACL(f *testing.F) {
	f.Add(emptyACL + "\nuser home\n# c\ntopic readwrite #\ntopic deny a b/+/c\ntopic x")
	f.Add("user a\n  topic read  b \nuser  c d \n#")
	f.Fuzz(func(t *testing.T, text string) {
		acl, err := mosquitto.ParseACL("acl", text)
		if err != nil {
			return
		}
		once := acl.Render(false)
		again, err := mosquitto.ParseACL("acl", once)
		if err != nil {
			t.Fatalf("does not read what it wrote: %v\n%q", err, once)
		}
		if twice := again.Render(false); twice != once {
			t.Fatalf("rendered %q, then %q", once, twice)
		}
		section := ""
		for line := range strings.SplitSeq(once, "\n") {
			if strings.HasPrefix(line, "user ") {
				section = line
			}
			if strings.HasPrefix(line, "topic ") && section == "" {
				t.Fatalf("a rule for anonymous clients:\n%s", once)
			}
		}
	})
}

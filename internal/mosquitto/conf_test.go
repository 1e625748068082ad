package mosquitto_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/compose"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
)

func template(t *testing.T) string {
	t.Helper()
	text, err := compose.Files.ReadFile(compose.ConfTemplate)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// directives returns the lines that the broker reads.
func directives(conf string) []string {
	var lines []string
	for line := range strings.SplitSeq(conf, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestConfigurationDeniesUnlessToldOtherwise(t *testing.T) {
	for _, test := range []struct {
		data mosquitto.ConfData
		want []string
	}{
		{
			mosquitto.ConfData{SaveInterval: time.Minute},
			[]string{"allow_anonymous false", "autosave_on_changes false", "autosave_interval 60"},
		},
		{
			mosquitto.ConfData{AllowAnonymous: true},
			[]string{"allow_anonymous true", "autosave_on_changes true", "autosave_interval 1"},
		},
	} {
		conf, err := mosquitto.RenderConf(template(t), test.data)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range directives(conf) {
			if strings.HasPrefix(line, "allow_") || strings.HasPrefix(line, "autosave_") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.data, diff)
		}
	}
	for _, bad := range []time.Duration{-time.Second, 1500 * time.Millisecond} {
		if _, err := mosquitto.RenderConf(template(t), mosquitto.ConfData{SaveInterval: bad}); err == nil {
			t.Errorf("a save interval of %s is accepted", bad)
		}
	}
}

func TestFilesOfTheUserAreAppendedAsTheyAre(t *testing.T) {
	files, err := mosquitto.CheckConf([]mosquitto.ConfFile{
		{Name: "10-bridge.conf", Text: "\ufeff# to the other house\r\nconnection other\r\naddress other.example.com:8883\r\ntopic # both 0 home/ away/\r\nremote_password a #b\r\n\r\n"},
		{Name: "20-limits.conf", Text: "max_packet_size 2000000\nlog_type subscribe\nlistener 1884 127.0.0.1\nmax_connections 3\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := mosquitto.RenderConf(template(t), mosquitto.ConfData{SaveInterval: time.Minute, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	want := `listener 9001
protocol websockets
max_connections 2000

# --- mosquitto/conf.d/10-bridge.conf
# to the other house
connection other
address other.example.com:8883
topic # both 0 home/ away/
remote_password a #b

# --- mosquitto/conf.d/20-limits.conf
max_packet_size 2000000
log_type subscribe
listener 1884 127.0.0.1
max_connections 3
`
	if !strings.HasSuffix(conf, want) {
		t.Errorf("the configuration does not end with what was wanted:\n%s", conf)
	}
}

func TestFilesThatUndoSettingsAreRefusedWithTheirLine(t *testing.T) {
	for _, bad := range []string{
		"allow_anonymous true", "allow_anonymous false", "  allow_anonymous true", "listener_allow_anonymous true",
		"password_file /x", "acl_file /x", "psk_file /x", "plugin /x.so", "plugin_load a /x.so", "plugin_use a", "plugin_opt_x y",
		"global_plugin /x.so", "auth_plugin /x.so", "user root", "persistence false", "persistence_location /tmp", "persistence_file x",
		"log_dest none", "log_dest file /x", "log_type none", "log_timestamp false", "log_timestamp_format %s", "connection_messages false",
		"include_dir /x", "listener 1883", "listener 9001 127.0.0.1", "listener 01883", "per_listener_settings true", "pid_file /x",
		"autosave_interval 9", "autosave_on_changes true", "port 1884", "bind_address 0.0.0.0",
		"listener 1885\nlistener 1885", "listener 1885 127.0.0.1\nlistener 1885", "listener 1885\nlistener 1885 127.0.0.1", "listener abc", "listener",
		"max_connections 5", "protocol mqtt", "certfile /x", "mount_point x", "use_username_as_clientid true",
		"topic # both", "remote_username x", "bridge_cafile /x",
		"\tallow_anonymous true", "allow_anonymous\ttrue", " # comment", "queue_qos0_messages yes", "queue_qos0_messages true # why",
		"memory_limit 100 # why", "max_keepalive 10\x00", "\xff",
		"\ufeff\ufeffallow_anonymous true",
	} {
		_, err := mosquitto.CheckConf([]mosquitto.ConfFile{{Name: "a.conf", Text: "# fine\nconnection x\n"}, {Name: "my.conf", Text: "\n" + bad + "\n"}})
		if err == nil {
			t.Errorf("%q is accepted", bad)
			continue
		}
		line := string(rune('2' + strings.Count(bad, "\n")))
		if !strings.HasPrefix(err.Error(), "mosquitto/conf.d/my.conf:"+line+": ") {
			t.Errorf("%q: error %q does not begin with file and line", bad, err)
		}
		if remedy.CodeOf(err) != remedy.Input {
			t.Errorf("%q: code %d, want %d", bad, remedy.CodeOf(err), remedy.Input)
		}
	}
}

func TestEveryFaultIsToldAndNoValue(t *testing.T) {
	_, err := mosquitto.CheckConf([]mosquitto.ConfFile{{
		Name: "x.conf",
		Text: "connection a\nremote_password s3cret\tx\nallow_anonymous s3cret\ns3cret-Word\nuser s3cret\n",
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != 3 {
		t.Errorf("%d faults, want 3:\n%v", got, err)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error quotes a value:\n%v", err)
	}
}

func FuzzCheckConf(f *testing.F) {
	f.Add("connection a\ntopic # both\n", "listener 1884 ::1\n")
	f.Add("\ufefflistener 0 /x", "max_keepalive 1 # x")
	f.Fuzz(func(t *testing.T, a, b string) {
		files, err := mosquitto.CheckConf([]mosquitto.ConfFile{{Name: "a.conf", Text: a}, {Name: "b.conf", Text: b}})
		if err != nil {
			return
		}
		conf, err := mosquitto.RenderConf("{{range .Files}}{{.Text}}\n{{end}}", mosquitto.ConfData{Files: files})
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(conf, "\n") {
			name, _, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
			switch name {
			case "allow_anonymous", "listener_allow_anonymous", "password_file", "acl_file", "plugin", "user", "persistence", "include_dir":
				t.Fatalf("%q passed", line)
			}
		}
	})
}

package render_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/config"
	"mqtunnel/internal/render"
)

// The project of a Directory is loaded without its users, who are put in afterwards.
func TestTheUsersAreInTheProjectAsComposeLoadsThem(t *testing.T) {
	const hash = "$7$101$msny6VyT84OG3FSu$gRtE9GuMGKHhUdNf3yVigTk5rJSZQ6pCbXwtkqwp3aZpRD0xsm/RUNhD+MklF5elC12mpHi09Az1frzYEYOUJQ=="
	for name, c := range map[string]struct{ passwd, acl, override string }{
		"no users":                          {},
		"users":                             {passwd: "# mine\n\nphone:" + hash + "\n", acl: "# the phone\nuser phone\ntopic deny home/${x}/#\ntopic readwrite home/#\n# end\n"},
		"a name that no block holds":        {passwd: "a\u2028b:" + hash, acl: "user a\u2028b\ntopic read \u202ex/$$/#\n"},
		"blanks in front":                   {passwd: "  phone : " + hash + "\n", acl: "  user phone\n  topic read a b\n"},
		"an override":                       {passwd: "phone:" + hash, override: "services:\n  mosquitto:\n    labels: {a: b}\n"},
		"an override with users of its own": {passwd: "phone:" + hash, override: "configs:\n  mosquitto_acl:\n    content: |\n      user x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{render.PasswdName: c.passwd, render.ACLName: c.acl, "compose.override.yaml": c.override} {
				if text == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := config.Load(dir, []string{"MQTUNNEL_PROBE_PASSWORD=probesecret"})
			if err != nil {
				t.Fatal(err)
			}
			d, err := render.ReadDirectory(dir)
			if err != nil {
				t.Fatal(err)
			}
			r, err := d.Render(t.Context(), s, nil, false, counted())
			if err != nil {
				t.Fatal(err)
			}
			want, err := render.Load(t.Context(), dir, r.Compose, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, r.Project); diff != "" {
				t.Errorf("the project is not the one of the Compose file (-Compose +ours):\n%s\n%s", diff, r.Compose)
			}
		})
	}
}

package lifecycle

import (
	"testing"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/mosquitto"
)

func TestABrokerShowsWhatItsRulesLetThrough(t *testing.T) {
	e := open(t, "")
	store := labtest.Store(t, labtest.Engine(t))
	hash := "alice:$7$101$msny6VyT84OG3FSu$gRtE9GuMGKHhUdNf3yVigTk5rJSZQ6pCbXwtkqwp3aZpRD0xsm/RUNhD+MklF5elC12mpHi09Az1frzYEYOUJQ==\n"
	acl := &mosquitto.ACL{}
	rules := []mosquitto.Rule{{Access: mosquitto.Deny, Filter: "home/lock/#"}, {Access: mosquitto.ReadWrite, Filter: "home/#"}, {Access: mosquitto.Read, Filter: "a b/+"}}
	if err := acl.Set("alice", rules); err != nil {
		t.Fatal(err)
	}
	for _, version := range images.Versions() {
		image, err := store.Mosquitto(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			project := "lifeshow" + token()
			service := brokerService(t, project, image.Ref, t.TempDir(), map[string]string{
				"mosquitto/passwd": hash, "mosquitto/acl": acl.Render(false),
			})
			for _, try := range []Attempt{
				{"alice", true, "home/a"},
				{"alice", true, "home/lock/front"},
				{"alice", true, "a b/c"},
				{"alice", false, "a b/c"},
				{"alice", false, "home/lock"},
				{"alice", false, "office"},
			} {
				decide := mosquitto.Subscribe
				if try.Publish {
					decide = mosquitto.Publish
				}
				want := decide(rules, try.Topic).Extent == mosquitto.Everything
				got, err := Demonstrate(t.Context(), e, project, service, try)
				if err != nil || got != want {
					t.Errorf("%+v: through %v, %v; the rules say %v", try, got, err, want)
				}
			}
			noProbes(t, e, project)
		})
	}
}

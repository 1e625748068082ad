package cli

import "testing"

func TestACommandToTypeLeadsToTheSameProject(t *testing.T) {
	for _, c := range []struct {
		flags      flags
		text, want string
	}{
		{flags{}, "next: mqtunnel up", "next: mqtunnel up"},
		{flags{dir: "../home"}, "next: mqtunnel up", "next: mqtunnel -C ../home up"},
		{flags{dir: "my home"}, "mqtunnel up, mqtunnel user add NAME", "mqtunnel -C 'my home' up, mqtunnel -C 'my home' user add NAME"},
		{flags{project: "other", context: "pi"}, "type: mqtunnel logs mosquitto", "type: mqtunnel -p other --context pi logs mosquitto"},
		{flags{dir: "$1"}, "mqtunnel up", "mqtunnel -C '$1' up"},
		{flags{dir: "x"}, "mqtunnel help MQT-B20 explains it", "mqtunnel help MQT-B20 explains it"},
		{flags{dir: "x"}, "mqtunnel -C /srv/a down", "mqtunnel -C /srv/a down"},
		{flags{dir: "x"}, "docker network create mqtunnel_default; mqtunnel upset", "docker network create mqtunnel_default; mqtunnel upset"},
	} {
		a := &App{flags: c.flags}
		if got := a.again(c.text); got != c.want || a.again(got) != got {
			t.Errorf("with %q: %q, want %q; again: %q", c.flags.again(), got, c.want, a.again(got))
		}
	}
}

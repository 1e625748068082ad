package render_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/sirupsen/logrus"

	"mqtunnel/internal/remedy"
)

func TestLimitsInTwoPlacesAreNamedWithTheRemedy(t *testing.T) {
	const limits, reservation = "write mem_limit, pids_limit and cpus at the service instead", "write mem_reservation at the service instead"
	for _, c := range []struct{ override, want, hint string }{
		{"services:\n  mosquitto:\n    deploy:\n      resources:\n        limits: {memory: 64m}\n", "compose.override.yaml:5: services.mosquitto.deploy.resources.limits: the service has mem_limit already, and the two differ", limits},
		{"services:\n  cloudflared:\n    deploy: {resources: {limits: {cpus: \"0.5\"}}}\n", "compose.override.yaml:3: services.cloudflared.deploy.resources.limits: the service has mem_limit already, and the two differ", limits},
		{"services:\n  cloudflared:\n    deploy: {resources: {limits: {memory: 256m, pids: 9}}}\n", "compose.override.yaml:3: services.cloudflared.deploy.resources.limits: the service has pids_limit already, and the two differ", limits},
		{"x-l: &l {limits: {pids: 3}}\nservices:\n  mosquitto: {deploy: {resources: {<<: *l}}}\n", "compose.override.yaml: services.mosquitto.deploy.resources.limits: the service has mem_limit already, and the two differ", limits},
		{"services:\n  a:\n    image: x\n    cpus: 2\n    deploy:\n      resources:\n        limits: {cpus: \"1\"}\n", ":7: services.a.deploy.resources.limits: the service has cpus already, and the two differ", limits},
		{"services:\n  a:\n    image: x\n    mem_reservation: 1m\n    deploy:\n      resources:\n        reservations: {memory: 2m}\n", ":7: services.a.deploy.resources.reservations: the service has mem_reservation already, and the two differ", reservation},
		{"services:\n  mosquitto:\n    mem_limit: !reset null\n    pids_limit: !reset null\n    deploy: {resources: {limits: {memory: 64m}}}\n", "", ""},
		{"services:\n  mosquitto: {mem_limit: 64m, pids_limit: 50, cpus: 0.5}\n", "", ""},
	} {
		err := overridden(t, c.override, nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("override %q: %v", c.override, err)
		case c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), c.want) || remedy.HintOf(err) != c.hint || remedy.CodeOf(err) != remedy.Input):
			t.Errorf("override %q: error %v, hint %q, want %q", c.override, err, remedy.HintOf(err), c.want)
		}
	}
}

func TestAVariableThatIsNotSetIsNamed(t *testing.T) {
	for _, c := range []struct {
		value string // of hostname, in line 3
		want  string // the variable, "" when all is well
	}{
		{"plain", ""},
		{"$SET", ""},
		{"${SET}-${EMPTY}", ""},
		{"pa$$word", ""},
		{"pa$word", "word"},
		{"$NONE", "NONE"},
		{"${NONE}", "NONE"},
		{"${NONE:-}", ""},
		{"${NONE-}", ""},
		{"${NONE:-x}-${OTHER}", "OTHER"},
		{"${NONE:-$OTHER}", "OTHER"},
		{"${NONE:-${OTHER:-x}}", ""},
		{"${NONE:-${OTHER}}", "OTHER"},
		{"${SET:-$OTHER}", ""},
		{"${EMPTY:-$OTHER}", "OTHER"},
		{"${EMPTY-$OTHER}", ""},
		{"${NONE:+$OTHER}", ""},
		{"${SET:+$OTHER}", "OTHER"},
		{"$COMPOSE_PROJECT_NAME", ""},
		{"x # $NONE", ""},
	} {
		env := map[string]string{"SET": "s", "EMPTY": ""}
		err := overridden(t, "services:\n  mosquitto:\n    hostname: "+c.value+"\n", env)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.value, err)
			}
			continue
		}
		if want := "compose.override.yaml:3: the variable " + c.want + " is not set"; err == nil || err.Error() != want ||
			remedy.CodeOf(err) != remedy.Input || !strings.Contains(remedy.HintOf(err), "${"+c.want+":-}") {
			t.Errorf("%s: error %v, hint %q, want %s", c.value, err, remedy.HintOf(err), want)
		}
	}
	for override, want := range map[string]string{
		"services: {}\nx-mine: [{a: $NONE}]\n":                                            ":2: the variable NONE",
		"services:\n  mosquitto:\n    labels: {a: !reset $NONE}\n":                        "",
		"services:\n  mosquitto:\n    environment: {$NONE: a}\n":                          "",
		"services: {}\n---\nservices: {mosquitto: {hostname: $NONE}}\n":                   ":3: the variable NONE",
		"x-a: &a $NONE\nservices: {mosquitto: {hostname: *a}}\n":                          ":1: the variable NONE",
		"services:\n  mosquitto:\n    hostname: $" + strings.TrimRight(token, "=") + "\n": "the variable [hidden] is not set",
	} {
		if err := overridden(t, override, nil); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("override %q: error %v, want %q", override, err, want)
		}
	}
}

// warnings collects the variables that compose-go takes for blank.
type warnings struct{ texts []string }

func (w *warnings) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

func (w *warnings) Fire(e *logrus.Entry) error {
	w.texts = append(w.texts, e.Message)
	return nil
}

func FuzzEveryVariableThatComposeWarnsOfIsRefused(f *testing.F) {
	for _, seed := range []string{
		"$A", "${A}", "$$A", "${A:-b}", "${A:-$B} $C", "${S:+$A}", "${E:+$A}", "${E-$A}", "${A:-{}}$B", "${A?x}", "${S:?$B}", "a$", "${", "${A:-}}", "$$$A", "${S-x} ${S+$B}", "${A:-$$B}", "${é}", "${A:-\n$B}",
	} {
		f.Add(seed)
	}
	env := map[string]string{"S": "s", "E": ""}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) {
			return
		}
		logrus.SetOutput(io.Discard)
		hook := &warnings{}
		previous := logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{logrus.WarnLevel: {hook}})
		defer logrus.StandardLogger().ReplaceHooks(previous)
		_, err = template.Substitute(text, func(key string) (string, bool) {
			value, ok := env[key]
			return value, ok
		})
		if err != nil {
			return // refused anyhow
		}
		warned := len(hook.texts) > 0
		refused := overridden(t, "x-a: "+string(quoted)+"\n", env)
		if got := refused != nil && strings.Contains(refused.Error(), "is not set"); got != warned {
			t.Errorf("%q: Compose warns %q, we say %v", text, hook.texts, refused)
		}
	})
}

package lifecycle

import (
	"strings"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// CheckSecrets refuses a project in which one of the secrets, by its name for a
// person, stands where docker inspect shows it: a user's override can put it
// into an environment, a label or a command.
func CheckSecrets(p plan.Project, secrets map[string]secret.Text) error {
	for _, s := range p.Services {
		var shown []string
		shown = append(shown, s.Spec.Env...)
		shown = append(shown, s.Spec.Command...)
		shown = append(shown, s.Spec.Entrypoint...)
		for _, v := range s.Spec.Labels {
			shown = append(shown, v)
		}
		if s.Spec.Health != nil {
			shown = append(shown, s.Spec.Health.Test...)
		}
		all := strings.Join(shown, "\n")
		for name, text := range secrets {
			// Looked for in what would be shown.
			if !text.IsZero() && strings.Contains(all, text.Reveal()) {
				return remedy.Errorf(remedy.Input, "take it out of compose.override.yaml: docker inspect would show it to everybody who may ask the Engine",
					"service %s has the %s in its environment, a label or its command", s.Name, name)
			}
		}
	}
	return nil
}

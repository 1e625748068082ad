package cli

import (
	"testing"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
)

func TestAServiceIsHealthyOrNotWhileItRuns(t *testing.T) {
	for state, want := range map[plan.State]string{
		plan.StateRunning: "unhealthy", plan.StatePaused: "", plan.StateExited: "", plan.StateRestarting: "", plan.StateCreated: "", plan.StateDead: "",
	} {
		got := serviceOf(lifecycle.ServiceStatus{Service: plan.ServiceBroker, Exists: true, State: state, Health: plan.HealthUnhealthy})
		if got.State != string(state) || got.Health != want {
			t.Errorf("%s: state %q and health %q, want %q", state, got.State, got.Health, want)
		}
	}
}

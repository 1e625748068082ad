package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// Where the connector finds the broker, and its own metrics server.
const (
	brokerService = "http://mosquitto:9001"
	webSocketPort = 9001
	plainPort     = 1883
	metrics       = "127.0.0.1:20241"
	probeTopics   = "mqtunnel/probe/"
)

// readiness says what to wait for and how to look.
func (s *session) readiness(ctx context.Context, p plan.Project, to []probe.ConnectTo) (lifecycle.Readiness, error) {
	view, err := s.view(ctx, p)
	if err != nil {
		return lifecycle.Readiness{}, err
	}
	s.noteConnectTo(to)
	return lifecycle.Readiness{
		Project: p, Service: brokerService, Hostname: s.settings.Hostname,
		Expect: probe.Expect{Anonymous: s.settings.AllowAnonymous},
		View:   view, Public: s.publicTarget(to), Topic: view.Request.Topic, Patient: s.app.interactive() && !s.app.flags.quiet,
	}, nil
}

// view says how to look from inside the project's network.
func (s *session) view(ctx context.Context, p plan.Project) (lifecycle.View, error) {
	binary, err := s.probeBinary(ctx)
	if err != nil {
		return lifecycle.View{}, err
	}
	// Nobody can flood a topic that nobody knows.
	topic := probeTopics + rand.Text()
	v := lifecycle.View{
		Project: p.Name, Binary: binary,
		Request: probe.Request{
			Broker: plan.ServiceBroker, WebSocketPort: webSocketPort, PlainPort: plainPort,
			Username: mosquitto.ProbeUser, Password: s.settings.ProbePassword, Topic: topic, Metrics: metrics,
		},
	}
	for _, svc := range p.Services {
		if svc.Name == plan.ServiceConnector {
			v.Service = svc
		}
	}
	return v, nil
}

// distName is what make dist calls the binary for a platform.
func distName(system, arch string) string {
	if arch == "arm" {
		arch = "armv7"
	}
	return fmt.Sprintf("mqtunnel-%s-%s", system, arch)
}

// probeBinary returns mqtunnel for the Engine's platform: this very binary where
// it fits, else the one for Linux that lies beside it.
func (s *session) probeBinary(ctx context.Context) (secret.Text, error) {
	info, err := s.engine.Version(ctx)
	if err != nil {
		return secret.Text{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return secret.Text{}, fmt.Errorf("find the program's own file: %w", err)
	}
	path := self
	if runtime.GOOS != info.OS || runtime.GOARCH != info.Arch {
		path = filepath.Join(filepath.Dir(self), distName(info.OS, info.Arch))
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && path != self {
		return secret.Text{}, remedy.Errorf(remedy.Input,
			fmt.Sprintf("put the %s/%s build of the same version there; or add --no-wait, which looks at nothing", info.OS, info.Arch),
			"looking from inside the network needs mqtunnel for the Engine's platform: there is no %s", path)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the program's own file: %w", err)
	}
	return secret.New(string(data)), nil
}

package proof

import (
	"context"
	"fmt"

	"mqtunnel/internal/lab/control"
)

// right is the service that a public hostname has to lead to.
const right = "http://mosquitto:9001"

// ingressFaults are those of the tunnel's configuration in the dashboard.
func ingressFaults() []fault {
	access := map[string]any{"access": map[string]any{"required": true, "teamName": "home", "audTag": []string{"0123456789abcdef"}}}
	elsewhere := control.Rule{Hostname: "files.example.com", Service: "http://localhost:8080"}
	besides := dashboard("other service not reached", "MQT-S16", func(s *site) []control.Rule {
		return []control.Rule{{Hostname: s.host, Service: right}, elsewhere}
	})
	besides.warns = true
	return append(urlFaults(), []fault{
		unpublished(),
		dashboard("service with a path", "MQT-S02", leading("http://mosquitto:9001/mqtt")),
		dashboard("no public hostname", "MQT-S03", func(*site) []control.Rule { return nil }),
		dashboard("hostname not among the others", "MQT-S03", func(*site) []control.Rule { return []control.Rule{elsewhere} }),
		withoutCatchAll(),
		dashboard("hostname for one path", "MQT-S11", func(s *site) []control.Rule {
			return []control.Rule{{Hostname: s.host, Path: "^/ws$", Service: right}}
		}),
		dashboard("wildcard before the hostname", "MQT-S12", func(s *site) []control.Rule {
			return []control.Rule{{Hostname: "*.example.com", Service: "http_status:403"}, {Hostname: s.host, Service: right}}
		}),
		dashboard("other service before the hostname", "MQT-S12", func(s *site) []control.Rule {
			return []control.Rule{{Hostname: "*.example.com", Service: "http://mosquitto:1883"}, {Hostname: s.host, Service: right}}
		}),
		dashboard("hostname answered with a status", "MQT-S10", leading("http_status:503")),
		dashboard("hostname answered with the test page", "MQT-S10", leading("hello_world")),
		dashboard("connector asks for Access", "MQT-S14", func(s *site) []control.Rule {
			return []control.Rule{{Hostname: s.host, Service: right, OriginRequest: access}}
		}),
		besides,
		{
			name: "hostname of .env not published", code: "MQT-S03", of: []subject{ofEnv, ofTunnel}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error { return s.set("MQTT_HOSTNAME", "other.example.com") },
			mend:   by((*site).corrected),
		},
	}...)
}

// urlFaults are the services that people give the public hostname.
func urlFaults() []fault {
	url := func(service, code string) fault {
		f := dashboard("service "+service, code, leading(service))
		f.counted = countedURL
		return f
	}
	// What leads to the broker by another name than its own.
	works := func(name, code string, service func(context.Context, *site) (string, error)) fault {
		f := dashboard(name, code, nil)
		f.counted, f.warns = countedURL, true
		f.inject = func(ctx context.Context, s *site) error {
			text, err := service(ctx, s)
			if err != nil {
				return err
			}
			return dashboard(name, code, leading(text)).inject(ctx, s)
		}
		return f
	}
	return []fault{
		url("http://localhost:9001", "MQT-S04"),
		url("http://127.0.0.1:9001", "MQT-S04"),
		url("http://[::1]:9001", "MQT-S04"),
		url("http://0.0.0.0:9001", "MQT-S04"),
		url("http://localhost:1883", "MQT-S04"),
		url("http://192.0.2.50:9001", "MQT-S05"),
		url("http://broker:9001", "MQT-S06"),
		url("http://homeassistant.local:1883", "MQT-S06"),
		works("service by the container's name", "MQT-S06", func(_ context.Context, s *site) (string, error) {
			return "http://" + s.container(broker) + ":9001", nil
		}),
		works("service by the broker's address", "MQT-S05", func(ctx context.Context, s *site) (string, error) {
			c, err := s.inspect(ctx, broker)
			if err != nil {
				return "", err
			}
			return "http://" + c.NetworkSettings.Networks[s.network()].IPAddress + ":9001", nil
		}),
		url("http://mosquitto:1883", "MQT-S07"),
		url("http://mosquitto:9883", "MQT-S07"),
		url("http://mosquitto", "MQT-S07"),
		url("https://mosquitto:9001", "MQT-S08"),
		url("wss://mosquitto:9001", "MQT-S08"),
		url("tcp://mosquitto:1883", "MQT-S09"),
		url("tcp://mosquitto:9001", "MQT-S09"),
		fine(url("ws://mosquitto:9001", "")),
	}
}

// leading makes the public hostname lead to a service.
func leading(service string) func(*site) []control.Rule {
	return func(s *site) []control.Rule { return []control.Rule{{Hostname: s.host, Service: service}} }
}

// catchAll ends the configurations that a dashboard makes.
const catchAll = "http_status:404"

// dashboard is a fault in the tunnel's configuration; a person corrects it there.
func dashboard(name, code string, rules func(*site) []control.Rule) fault {
	return fault{
		name: name, code: code, of: []subject{ofTunnel}, stage: stageDashboard, connector: true,
		inject: func(ctx context.Context, s *site) error {
			return s.configure(ctx, append(rules(s), control.Rule{Service: catchAll})...)
		},
		mend: by((*site).correct),
	}
}

// withoutCatchAll is a configuration that the dashboard would not make.
func withoutCatchAll() fault {
	f := dashboard("catch-all missing", "MQT-S13", nil)
	f.inject = func(ctx context.Context, s *site) error {
		return s.configure(ctx, control.Rule{Hostname: s.host, Service: right})
	}
	return f
}

// unpublished is a tunnel for which there is no configuration yet. Nothing takes
// back the one that a connector has, so it is one that was started again.
func unpublished() fault {
	f := dashboard("configuration missing", "MQT-S01", nil)
	f.of = onTheWaySubjects()
	f.inject = func(ctx context.Context, s *site) error {
		if _, err := s.lab.Control.Configure(ctx, s.tunnel.TunnelID, control.TunnelConfig{None: true}); err != nil {
			return err
		}
		return s.throughFaults(ctx, control.Faults{}, func(ctx context.Context, s *site) error { return s.since(ctx, connector, unconnected) })
	}
	return f
}

// configure gives the tunnel another configuration until the fault is over.
func (s *site) configure(ctx context.Context, rules ...control.Rule) error {
	s.hold(closer(func() error { return s.correct(context.WithoutCancel(ctx)) }))
	result, err := s.lab.Control.Configure(ctx, s.tunnel.TunnelID, control.TunnelConfig{Ingress: rules})
	if err == nil && result.Applied == 0 && len(result.Refused) == 0 {
		err = fmt.Errorf("configuration %d: no connector took it", result.Version)
	}
	return err
}

// correct is a person who makes the public hostname lead to the broker.
func (s *site) correct(ctx context.Context) error {
	rules := []control.Rule{{Hostname: s.host, Service: right}, {Service: catchAll}}
	_, err := s.lab.Control.Configure(ctx, s.tunnel.TunnelID, control.TunnelConfig{Ingress: rules})
	return err
}

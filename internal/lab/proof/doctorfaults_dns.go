package proof

import (
	"context"
	"maps"

	"github.com/google/uuid"

	"mqtunnel/internal/lab/control"
)

// tunnelNames is the domain in which each tunnel has a name of its ID.
const tunnelNames = ".cfargotunnel.com"

// atHome is an address of a network at home, at which no broker is.
const atHome = "127.77.0.1"

// dnsFaults are those of the public hostname's name.
func dnsFaults() []fault {
	pointing := func(name, code, answer string) fault {
		return publicly(name, code, control.Faults{DNSAnswer: answer})
	}
	unproxied := pointing("DNS record not proxied", "MQT-D03", "")
	unproxied.inject = func(ctx context.Context, s *site) error {
		return s.public(ctx, control.Faults{DNSAnswer: s.tunnel.TunnelID + tunnelNames})
	}
	here := func(name string, f control.Faults) fault {
		f.DNSOver = control.OverPlain
		return publicly(name, "MQT-D04", f)
	}
	return []fault{
		publicly("hostname not in the DNS", "MQT-D01", control.Faults{DNS: control.DNSNXDomain}),
		pointing("DNS record of another host", "MQT-D02", nowhere),
		pointing("DNS record of a host at home", "MQT-D02", atHome),
		pointing("DNS record of another tunnel", "MQT-D02", uuid.NewString()+tunnelNames),
		unproxied,
		here("hostname not in the DNS here", control.Faults{DNS: control.DNSNXDomain}),
		here("hostname filtered here", control.Faults{DNSAnswer: "0.0.0.0"}),
		here("hostname rewritten here", control.Faults{DNSAnswer: atHome}),
		here("hostname answered with an error here", control.Faults{DNS: control.DNSServFail}),
		here("hostname not answered here", control.Faults{DNS: control.DNSSilent}),
		fine(publicly("hostname known here alone", "", control.Faults{DNS: control.DNSNXDomain, DNSOver: control.OverHTTPS})),
		fine(publicly("world's DNS not answering", "", control.Faults{DNS: control.DNSSilent, DNSOver: control.OverHTTPS})),
		onTheMachine("hostname in /etc/hosts", "MQT-D04", "/etc/hosts", func(s *site) string {
			return "127.0.0.1 localhost\n" + atHome + " " + s.host + "\n"
		}),
		onTheMachine("resolver of the machine dead", "MQT-D04", "/etc/resolv.conf", func(*site) string {
			return "nameserver " + nowhere + "\n"
		}),
		onTheMachine("resolver of the machine closed", "MQT-D04", "/etc/resolv.conf", func(*site) string {
			return "nameserver " + atHome + "\n"
		}),
	}
}

// publicly is a fault of the tunnel's own in what a client meets.
func publicly(name, code string, f control.Faults) fault {
	return fault{
		name: name, code: code, of: []subject{ofTunnel}, stage: stageEngine,
		inject: func(ctx context.Context, s *site) error { return s.public(ctx, f) },
		mend:   by((*site).publicAgain),
	}
}

// public makes something wrong with what clients of the tunnel meet, until the fault
// is over.
func (s *site) public(ctx context.Context, f control.Faults) error {
	s.hold(closer(func() error { return s.publicAgain(context.WithoutCancel(ctx)) }))
	return s.lab.Control.SetTunnelFaults(ctx, s.tunnel.TunnelID, f)
}

// publicAgain is a person who mends in the dashboard what clients meet.
func (s *site) publicAgain(ctx context.Context) error {
	return s.lab.Control.SetTunnelFaults(ctx, s.tunnel.TunnelID, control.Faults{})
}

// onTheMachine is a file of the machine with another text.
func onTheMachine(name, code, path string, text func(*site) string) fault {
	return fault{
		name: name, code: code, of: []subject{ofMachine}, stage: stageVantage,
		inject: func(_ context.Context, s *site) error {
			files := maps.Clone(s.vantage.files)
			files[path] = text(s)
			s.vantage.files = files
			return nil
		},
		mend: by((*site).usually),
	}
}

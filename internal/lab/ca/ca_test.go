package ca_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/control"
)

func authority(t *testing.T) *ca.Authority {
	t.Helper()
	a, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestACertificateFailsAsItsFaultSays(t *testing.T) {
	a := authority(t)
	invalid := func(reason x509.InvalidReason) func(error) bool {
		return func(err error) bool {
			e, ok := errors.AsType[x509.CertificateInvalidError](err)
			return ok && e.Reason == reason
		}
	}
	for fault, want := range map[string]func(error) bool{
		"": func(err error) bool { return err == nil },
		control.CertificateForeign: func(err error) bool {
			_, ok := errors.AsType[x509.UnknownAuthorityError](err)
			return ok
		},
		control.CertificateExpired:     invalid(x509.Expired),
		control.CertificateNotYetValid: invalid(x509.Expired), // which also is Go's word for the future
	} {
		for _, name := range []string{"mqtt.example.com", "127.0.0.1"} {
			c, err := a.Certificate(name, fault)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: name}); !want(err) {
				t.Errorf("%s with fault %q: verified with %v", name, fault, err)
			}
			future := leaf.NotBefore.After(time.Now())
			if future != (fault == control.CertificateNotYetValid) {
				t.Errorf("%s with fault %q is valid from %v on", name, fault, leaf.NotBefore)
			}
			if leaf.VerifyHostname("other.example.com") == nil {
				t.Errorf("the certificate of %s is one of other.example.com too", name)
			}
		}
	}
}

func TestACertificateOfTheFirstLevelCoversNoSecond(t *testing.T) {
	a := authority(t)
	for name, covered := range map[string]bool{"example.com": true, "mqtt.example.com": true, "mqtt.home.example.com": false} {
		c, err := a.Certificate(name, control.CertificateFirstLevel)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := leaf.VerifyHostname(name); (err == nil) != covered {
			t.Errorf("%s: verified with %v", name, err)
		}
	}
}

func TestThePEMIsTheRootThatIsTrusted(t *testing.T) {
	a := authority(t)
	fromPEM := x509.NewCertPool()
	if !fromPEM.AppendCertsFromPEM(a.PEM()) || !fromPEM.Equal(a.Pool()) {
		t.Errorf("PEM and Pool differ:\n%s", a.PEM())
	}
	if fromPEM.Equal(authority(t).Pool()) {
		t.Error("two authorities have one root")
	}
}

func TestTheSameNameAndFaultHaveOneCertificate(t *testing.T) {
	a := authority(t)
	first, err := a.Certificate("mqtt.example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.Certificate("mqtt.example.com", "")
	if err != nil || again != first {
		t.Errorf("made anew: %v", err)
	}
	if other, err := a.Certificate("mqtt.example.com", control.CertificateExpired); err != nil || other == first {
		t.Errorf("a fault makes no difference: %v", err)
	}
}

// handshake returns the error of a client that trusts a and asks for name.
func handshake(t *testing.T, a *ca.Authority, config *tls.Config, name string) error {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if c, err := l.Accept(); err == nil {
			_ = tls.Server(c, config).HandshakeContext(context.Background()) // the client says what is wrong
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-served })
	d := tls.Dialer{Config: &tls.Config{RootCAs: a.Pool(), ServerName: name}}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	return c.Close()
}

func TestAServerFollowsTheNameAndTheFaultOfTheMoment(t *testing.T) {
	a := authority(t)
	fault := ""
	var asked []string
	config := a.Config(func(name string) string { asked = append(asked, name); return fault })
	if err := handshake(t, a, config, "mqtt.example.com"); err != nil {
		t.Errorf("a healthy server: %v", err)
	}
	// A client that asks for an address sends no name.
	if err := handshake(t, a, config, "127.0.0.1"); err != nil {
		t.Errorf("by its address: %v", err)
	}
	fault = control.CertificateForeign
	if _, ok := errors.AsType[x509.UnknownAuthorityError](handshake(t, a, config, "mqtt.example.com")); !ok {
		t.Error("the fault makes no difference")
	}
	if got := strings.Join(asked, " "); got != "mqtt.example.com 127.0.0.1 mqtt.example.com" {
		t.Errorf("asked for the faults of %s", got)
	}
}

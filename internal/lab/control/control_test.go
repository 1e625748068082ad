package control_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/secret"
)

func TestOnlyFaultsThatTheLabKnowsAreAccepted(t *testing.T) {
	percent := func(n int) *int { return &n }
	for _, c := range []struct {
		faults control.Faults
		err    string // "" accepts
	}{
		{control.Faults{}, ""},
		{control.Faults{Accept: control.AcceptDrop, UDP: control.UDPSilent, Region: 2, QUICPercentage: percent(0)}, ""},
		{control.Faults{Certificate: control.CertificateExpired, PublicCertificate: control.CertificateForeign, DNS: control.DNSSilent}, ""},
		{control.Faults{PublicStatus: 530}, ""},
		{control.Faults{PublicStatus: 530, PublicCode: 1016}, ""},
		{control.Faults{PublicStatus: 200, PublicBody: "<html>"}, ""},
		{control.Faults{DNSAnswer: "192.0.2.1", DNSOver: control.OverHTTPS}, ""},
		{control.Faults{DNSAnswer: "x.cfargotunnel.com"}, ""},
		{control.Faults{Accept: "nothing"}, "accept: "},
		{control.Faults{PublicStatus: 530, PublicCode: 42}, "publicCode: "},
		{control.Faults{IdleTimeout: -1}, "idleTimeout: "},
		{control.Faults{DNSAnswer: "nobody"}, "dnsAnswer: "},
		{control.Faults{DNSAnswer: "a b.example.com"}, "dnsAnswer: "},
		{control.Faults{DNSOver: "carrier pigeon"}, "dnsOver: "},
		{control.Faults{UDP: "loud"}, "udp: "},
		{control.Faults{Certificate: "torn"}, "certificate: "},
		{control.Faults{PublicCertificate: "torn"}, "publicCertificate: "},
		{control.Faults{DNS: "wrong"}, "dns: "},
		{control.Faults{PublicStatus: 101}, "publicStatus: "},
		{control.Faults{PublicStatus: 600}, "publicStatus: "},
		{control.Faults{Region: 3}, "region: "},
		{control.Faults{QUICPercentage: percent(101)}, "quicPercentage: "},
	} {
		err := c.faults.Validate()
		if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%+v: error %v, want %q", c.faults, err, c.err)
		}
	}
}

func TestATunnelHasNoneOfTheWorldsFaults(t *testing.T) {
	// Every field is one of the two: a new one has to be sorted in.
	ofTunnel := map[string]bool{
		"RegisterError": true, "RegisterDelay": true, "NoConfig": true, "PublicStatus": true, "PublicRedirect": true,
		"AccessClientID": true, "AccessClientSecret": true, "StripUpgrade": true, "PublicCertificate": true, "ClockSkew": true,
		"PublicCode": true, "PublicBody": true, "DNS": true, "DNSAnswer": true, "DNSOver": true, "IdleTimeout": true,
	}
	valid := map[string]any{
		"PublicStatus": 502, "PublicCode": 1016, "PublicCertificate": control.CertificateExpired, "DNS": control.DNSNXDomain,
		"Accept": control.AcceptDrop, "UDP": control.UDPSilent, "Certificate": control.CertificateExpired,
		"QUICPercentage": new(int), "DNSNames": []string{"a"}, "Region": 1, "ConnectionDelay": control.Duration(1),
		"RegisterDelay": control.Duration(1), "ClockSkew": control.Duration(1), "IdleTimeout": control.Duration(1),
		"DNSAnswer": "192.0.2.1", "DNSOver": control.OverPlain,
	}
	for i := range reflect.TypeFor[control.Faults]().NumField() {
		var f control.Faults
		name := reflect.TypeFor[control.Faults]().Field(i).Name
		field := reflect.ValueOf(&f).Elem().Field(i)
		switch value, ok := valid[name]; {
		case ok:
			field.Set(reflect.ValueOf(value))
		case field.Kind() == reflect.Bool:
			field.SetBool(true)
		default:
			field.SetString("x")
		}
		if err := f.ValidateTunnel(); (err == nil) != ofTunnel[name] {
			t.Errorf("%s of one tunnel: %v, want it accepted: %v", name, err, ofTunnel[name])
		}
	}
}

func TestFaultsSurviveTheWire(t *testing.T) {
	want := control.Faults{RegisterDelay: control.Duration(1500 * time.Millisecond), DNSNames: []string{"a.example.com"}, NoConfig: true}
	text, err := json.Marshal(want)
	if err != nil || !strings.Contains(string(text), `"1.5s"`) {
		t.Fatalf("%s, %v", text, err)
	}
	var got control.Faults
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"registerDelay":"soon"}`), &got); err == nil {
		t.Error("a delay of soon is accepted")
	}
}

func TestCredentialsSurviveTheWire(t *testing.T) {
	want := control.Credentials{Token: secret.New("token"), TunnelID: "id", AccountTag: "tag"}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got control.Credentials
	if err := json.Unmarshal(text, &got); err != nil || !got.Token.Equal(want.Token) || got.TunnelID != "id" || got.AccountTag != "tag" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"token":1}`), &got); err == nil {
		t.Error("a number is accepted for a token")
	}
}

func TestARefusalNamesTheRequestAndTheReason(t *testing.T) {
	lab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() == "/tunnels/a%2Fb" {
			http.Error(w, "no such tunnel", http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("not JSON")) // the client may have left
	}))
	defer lab.Close()
	client := control.NewClient(lab.URL + "/")

	_, err := client.Tunnel(t.Context(), "a/b")
	refusal, ok := errors.AsType[*control.StatusError](err)
	if !ok || refusal.Status != http.StatusNotFound || err.Error() != "lab: GET /tunnels/a%2Fb: 404: no such tunnel" {
		t.Errorf("error %v", err)
	}
	if _, err := client.Counters(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "lab: decode GET /counters: ") {
		t.Errorf("an answer that is no JSON: %v", err)
	}
	lab.Close()
	if err := client.Healthy(t.Context()); err == nil {
		t.Error("a lab that is gone is healthy")
	}
}

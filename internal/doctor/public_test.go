package doctor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

const publicName = "mqtt.example.com"

// outside returns evidence of a project of which only the public side is looked at,
// with these round trips.
func outside(trips ...Trip) *Evidence {
	return &Evidence{
		At:     time.Now(),
		Public: PublicEvidence{Hostname: publicName, Trips: trips, Served: -1},
		Files:  FilesEvidence{Settings: &config.Settings{ProbePassword: secret.New("p")}, Token: &cloudflared.Token{TunnelID: "ours"}},
	}
}

// well adds an inside at which messages flow.
func well(e *Evidence) *Evidence {
	e.Inside.Report = &probe.Report{RoundTrip: probe.Check{Done: true, OK: true}, Result: probe.Result{Message: 2 * time.Millisecond}}
	return e
}

// young makes the connector one that has started only just now.
func young(e *Evidence) *Evidence {
	e.Project.Status = &lifecycle.Status{Services: []lifecycle.ServiceStatus{{Exists: true, Since: e.At.Add(-3 * time.Second)}}}
	return e
}

// back is a round trip whose message came back.
func back() Trip { return Trip{Result: probe.Result{Message: 20 * time.Millisecond}} }

// met is n round trips that failed so.
func met(n int, err probe.Error) []Trip {
	var trips []Trip
	for range n {
		own := err
		trips = append(trips, Trip{Err: &own})
	}
	return trips
}

// answered is an answer of the edge.
func answered(class probe.Class, status int) probe.Error {
	return probe.Error{Class: class, Stage: probe.StageUpgrade, Status: status, Server: "cloudflare", Ray: "abc-LAB"}
}

func failedAt(stage probe.Stage, class probe.Class) probe.Error {
	return probe.Error{Class: class, Stage: stage}
}

// publicFindings returns the failures and warnings of the layers from the DNS on.
func publicFindings(e *Evidence) []string {
	checks := slices.Concat(dnsChecks(), edgeChecks(), mqttChecks())
	var found []string
	for _, r := range judge(checks, e).Results {
		if r.Status == Failed || r.Status == Warned {
			found = append(found, r.ID+" "+string(r.Status))
		}
	}
	return found
}

func TestEachFailureOfAClientHasOneFinding(t *testing.T) {
	accessPage := answered(probe.ClassUpgradeStripped, 200)
	accessPage.Body = `<form action="https://team.cloudflareaccess.com/cdn-cgi/access/login">`
	router := answered(probe.ClassCatchAll, 404)
	router.Server, router.Ray = "nginx", ""
	for _, c := range []struct {
		err  probe.Error
		want string
	}{
		{failedAt(probe.StageDNS, probe.ClassNameUnknown), "edge-reached"},
		{failedAt(probe.StageDNS, probe.ClassNameTimeout), "edge-reached"},
		{failedAt(probe.StageTCP, probe.ClassRefused), "edge-reached"},
		{failedAt(probe.StageTCP, probe.ClassTCPTimeout), "edge-reached"},
		{failedAt(probe.StageTCP, probe.ClassUnreachable), "edge-reached"},
		{failedAt(probe.StageTLS, probe.ClassNotTLS), "edge-reached"},
		{failedAt(probe.StageTLS, probe.ClassTLSTimeout), "edge-reached"},
		{failedAt(probe.StageTLS, probe.ClassTLSClosed), "edge-reached"},
		{router, "edge-reached"},
		{failedAt(probe.StageTLS, probe.ClassCertExpired), "edge-certificate"},
		{failedAt(probe.StageTLS, probe.ClassCertNotYet), "edge-certificate"},
		{failedAt(probe.StageTLS, probe.ClassCertAuthority), "edge-certificate"},
		{failedAt(probe.StageTLS, probe.ClassCertName), "edge-certificate"},
		{failedAt(probe.StageTLS, probe.ClassCertOther), "edge-certificate"},
		{failedAt(probe.StageTLS, probe.ClassTLSAlert), "edge-certificate"},
		{answered(probe.ClassNoConnector, 530), "edge-connector"},
		{answered(probe.ClassTunnelUnknown, 530), "edge-tunnel"},
		{answered(probe.ClassOriginFailed, 502), "edge-origin"},
		{answered(probe.ClassNoIngress, 503), "edge-configured"},
		{answered(probe.ClassCatchAll, 404), "edge-rule"},
		{answered(probe.ClassForbidden, 403), "edge-allowed"},
		{answered(probe.ClassAccessLogin, 302), "edge-access"},
		{accessPage, "edge-access"},
		{answered(probe.ClassRedirect, 301), "edge-redirect"},
		{answered(probe.ClassRateLimited, 429), "edge-rate"},
		{answered(probe.ClassEdgeOrigin, 522), "edge-server"},
		{answered(probe.ClassEdgeOrigin, 504), "edge-server"},
		{answered(probe.ClassUpgradeStripped, 200), "edge-websocket"},
		{answered(probe.ClassUpgradeRejected, 426), "edge-websocket"},
		{answered(probe.ClassUpgradeInvalid, 101), "edge-websocket"},
		{answered(probe.ClassSubprotocol, 101), "edge-websocket"},
		{answered(probe.ClassStatus, 418), "edge-answer"},
		{failedAt(probe.StageUpgrade, probe.ClassClosed), "edge-answer"},
		{failedAt(probe.StageUpgrade, probe.ClassNotHTTP), "edge-answer"},
		{failedAt(probe.StageUpgrade, probe.ClassUpgradeTimeout), "edge-answer"},
		{failedAt(probe.StageConnect, probe.ClassNotAuthorised), "public-login"},
		{failedAt(probe.StageConnect, probe.ClassBrokerBusy), "public-login"},
		{failedAt(probe.StageConnect, probe.ClassConnack), "public-login"},
		{failedAt(probe.StageConnect, probe.ClassClosedByBroker), "public-message"},
		{failedAt(probe.StageConnect, probe.ClassNoConnack), "public-message"},
		{failedAt(probe.StageConnect, probe.ClassNotMQTT), "public-message"},
		{failedAt(probe.StageSubscribe, probe.ClassSubscribeDenied), "public-message"},
		{failedAt(probe.StageMessage, probe.ClassNotReturned), "public-message"},
		{failedAt(probe.StageMessage, probe.ClassConnectionLost), "public-message"},
	} {
		want := []string{c.want + " failed"}
		if got := publicFindings(outside(met(4, c.err)...)); !slices.Equal(got, want) {
			t.Errorf("%s at %s, HTTP %d: got %q, want %q", c.err.Class, c.err.Stage, c.err.Status, got, want)
		}
	}
}

func TestWhatSomeClientsMeet(t *testing.T) {
	origin, refused := answered(probe.ClassOriginFailed, 502), failedAt(probe.StageConnect, probe.ClassNotAuthorised)
	lost, limited := failedAt(probe.StageMessage, probe.ClassNotReturned), answered(probe.ClassRateLimited, 429)
	come := func(n int) (trips []Trip) {
		for range n {
			trips = append(trips, back())
		}
		return trips
	}
	for _, c := range []struct {
		name string
		e    *Evidence
		want []string
	}{
		{"all came back", well(outside(come(4)...)), nil},
		{"nobody tried", well(outside()), nil},
		{"no hostname", &Evidence{Public: PublicEvidence{Served: -1}}, nil},
		{"some 502", well(outside(slices.Concat(come(7), met(5, origin))...)), []string{"one-broker failed"}},
		{"some refused", well(outside(slices.Concat(met(1, refused), come(11))...)), []string{"one-broker failed"}},
		{"all refused, though not inside", well(outside(met(12, refused)...)), []string{"one-broker failed"}},
		{"all refused, inside not seen", outside(met(12, refused)...), []string{"public-login failed"}},
		{"502 and refused", well(outside(slices.Concat(met(6, refused), met(6, origin))...)), []string{"one-broker failed"}},
		{"all 502, though not inside", well(outside(met(12, origin)...)), []string{"edge-origin failed"}},
		{"502 until the connector was there", young(well(outside(slices.Concat(met(4, origin), come(8))...))), nil},
		{"502 long after a start", well(outside(slices.Concat(met(4, origin), come(8))...)), []string{"one-broker failed"}},
		{"1033 just after a start", young(well(outside(met(12, answered(probe.ClassNoConnector, 530))...))), nil},
		{"one lost of twelve", well(outside(slices.Concat(met(1, lost), come(11))...)), []string{"public-message warning"}},
		{"half of them lost", well(outside(slices.Concat(met(6, lost), come(6))...)), []string{"public-message failed"}},
		{"some limited", well(outside(slices.Concat(met(6, limited), come(6))...)), []string{"edge-rate failed"}},
	} {
		if got := publicFindings(c.e); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAnUpgradeThatIsTakenOffIsToldByWhoGotTheRequests(t *testing.T) {
	origin := answered(probe.ClassOriginFailed, 502)
	for _, c := range []struct {
		name   string
		e      *Evidence
		served int
		want   string
	}{
		{"this connector got them", well(outside(met(12, origin)...)), 12, "edge-websocket failed"},
		{"it got none", well(outside(met(12, origin)...)), 0, "edge-origin failed"},
		{"it was not asked", well(outside(met(12, origin)...)), -1, "edge-origin failed"},
		{"it got them, and the broker was not seen", outside(met(12, origin)...), 12, "edge-origin failed"},
	} {
		c.e.Public.Served = c.served
		if got := publicFindings(c.e); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheRequestsThatTheBrokerEndedAreCountedInTheLog(t *testing.T) {
	const (
		registered = `2026-08-20T10:00:00Z INF Registered tunnel connection connIndex=0 event=0 ip=198.41.192.57`
		ended      = `2026-08-20T10:00:09Z ERR  error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: EOF" connIndex=1 event=1 ingressRule=0 originService=http://mosquitto:9001`
		told       = `2026-08-20T10:00:09Z ERR Request failed error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: EOF" connIndex=1 dest=https://mqtt.example.com/mqtt event=0 ip=198.41.192.57 type=http`
		refused    = `2026-08-20T10:00:09Z ERR  error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial tcp 172.18.0.2:9001: connect: connection refused" connIndex=1 event=1 ingressRule=0 originService=http://mosquitto:9001`
	)
	parsed := func(texts ...string) (lines []cloudflared.Line) {
		for _, text := range texts {
			lines = append(lines, cloudflared.ParseLine(text))
		}
		return lines
	}
	for _, c := range []struct {
		name        string
		before, now []cloudflared.Line
		want        int
		known       bool
	}{
		{"two ended", parsed(registered), parsed(registered, ended, told, ended, told), 2, true},
		{"one was there before", parsed(registered, ended, told), parsed(registered, ended, told, refused, ended), 1, true},
		{"nothing new", parsed(registered), parsed(registered), 0, true},
		{"a broker that is not there", parsed(registered), parsed(registered, refused), 0, true},
		{"the log was not read", nil, parsed(ended), 0, false},
		{"the log was rotated", parsed(registered), parsed(ended, told), 0, false},
	} {
		lines, known := linesSince(c.now, c.before)
		if got := unanswered(lines); got != c.want || known != c.known {
			t.Errorf("%s: %d, known %v; want %d, %v", c.name, got, known, c.want, c.known)
		}
	}
}

func TestAnAccountWithoutPasswordIsNoFinding(t *testing.T) {
	e := outside(met(12, failedAt(probe.StageConnect, probe.ClassNotAuthorised))...)
	e.Files.Settings.ProbePassword = secret.Text{}
	if got := publicFindings(e); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestTheNameIsJudgedByWhatResolversAndClientsSay(t *testing.T) {
	const edge, home, lan = "104.16.1.1", "93.184.216.34", "192.168.1.5"
	at := func(texts ...string) *Answers {
		a := &Answers{Exists: true}
		for _, text := range texts {
			a.Addresses = append(a.Addresses, netip.MustParseAddr(text))
		}
		return a
	}
	alias := func(name string, texts ...string) *Answers { a := at(texts...); a.CNAME = name; return a }
	dead := &Answers{Err: errors.New("i/o timeout")}
	timeout := failedAt(probe.StageTCP, probe.ClassTCPTimeout)
	unresolved := failedAt(probe.StageDNS, probe.ClassNameTimeout)
	for _, c := range []struct {
		name          string
		system, world *Answers
		connectTo     bool
		trips         []Trip
		want          []string
	}{
		{"all well", at(edge), at(edge), false, []Trip{back()}, nil},
		{"not asked", nil, nil, true, []Trip{back()}, nil},
		{"no such name", &Answers{}, &Answers{}, false, met(4, failedAt(probe.StageDNS, probe.ClassNameUnknown)), []string{"name-exists failed"}},
		{"no such name, the world not asked", &Answers{}, nil, false, met(4, failedAt(probe.StageDNS, probe.ClassNameUnknown)), []string{"name-exists failed"}},
		{"no such name, with --connect-to", nil, &Answers{}, true, []Trip{back()}, []string{"name-exists failed"}},
		{"a name without address", nil, at(), true, nil, []string{"name-exists failed"}},
		{"no such name for the world, and it works", at(edge), &Answers{}, false, []Trip{back()}, nil},
		{"another tunnel", alias("other.cfargotunnel.com", "fd10:aec2:5dae::1"), alias("other.cfargotunnel.com", "fd10:aec2:5dae::1"), false, met(4, timeout), []string{"name-target failed"}},
		{"another tunnel, with --connect-to", nil, alias("other.cfargotunnel.com"), true, []Trip{back()}, []string{"name-target failed"}},
		{"our tunnel in clear", alias("ours.cfargotunnel.com", "fd10:aec2:5dae::1"), alias("ours.cfargotunnel.com", "fd10:aec2:5dae::1"), false, met(4, timeout), []string{"name-proxied failed"}},
		{"its address alone", nil, at("fd10:aec2:5dae::1"), true, nil, []string{"name-proxied failed"}},
		{"an address at home", at(home), at(home), false, met(4, timeout), []string{"name-target failed"}},
		{"an address at home, the world not asked", at(home), nil, false, met(4, timeout), []string{"name-target failed"}},
		{"an address of the LAN for the world too", at(lan), at(lan), false, met(4, timeout), []string{"name-target failed"}},
		{"an address of the LAN, the world out of reach", at(lan), nil, false, met(4, timeout), []string{"edge-reached failed"}},
		{"an address at home that works", at(home), at(home), false, []Trip{back()}, nil},
		{"an address that is not listed, behind Cloudflare", at(home), at(home), false, met(4, answered(probe.ClassForbidden, 403)), []string{"edge-allowed failed"}},
		{"a lab's address with --connect-to", nil, at("172.18.0.2"), true, met(4, timeout), []string{"edge-reached failed"}},
		{"an alias of the user's own", alias("lb.example.net", edge), alias("lb.example.net", edge), false, []Trip{back()}, nil},
		{"a rewrite to the LAN", at(lan), at(edge), false, met(4, timeout), []string{"name-here failed"}},
		{"a rewrite to the LAN that works", at(lan), at(edge), false, []Trip{back()}, nil},
		{"a filter's 0.0.0.0", at("0.0.0.0"), at(edge), false, met(4, failedAt(probe.StageTCP, probe.ClassRefused)), []string{"name-here failed"}},
		{"a provider's page", at(home), at(edge), false, met(4, timeout), []string{"name-here failed"}},
		{"other addresses of Cloudflare", at("172.67.1.1"), at(edge), false, met(4, answered(probe.ClassForbidden, 403)), []string{"edge-allowed failed"}},
		{"unknown here alone", &Answers{}, at(edge), false, met(4, failedAt(probe.StageDNS, probe.ClassNameUnknown)), []string{"name-here failed"}},
		{"dead here alone", dead, at(edge), false, met(4, unresolved), []string{"name-here failed"}},
		{"dead everywhere", dead, nil, false, met(4, unresolved), []string{"name-here failed"}},
		{"the world's resolver is out of reach", at(edge), nil, false, []Trip{back()}, nil},
	} {
		e := outside(c.trips...)
		e.Public.System, e.Public.World, e.Public.ConnectTo = c.system, c.world, c.connectTo
		if got := publicFindings(e); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestADeadResolverIsNotOneThatFails(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("i/o timeout"), "the DNS resolver of this machine does not answer"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}, "the DNS resolver of this machine does not answer"},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, "the DNS resolver of this machine fails for " + publicName},
	} {
		e := outside(met(4, failedAt(probe.StageDNS, probe.ClassNameLookup))...)
		e.Public.System = &Answers{Err: c.err}
		if o := judgeNameHere(e); o.Status != Failed || o.Sentence != c.want {
			t.Errorf("%v: %s, %q, want %q", c.err, o.Status, o.Sentence, c.want)
		}
	}
}

func TestWithoutNetworkThereIsOneFinding(t *testing.T) {
	e := outside(met(4, failedAt(probe.StageDNS, probe.ClassNameTimeout))...)
	e.Public.System, e.Public.WorldErr = &Answers{Err: errors.New("i/o timeout")}, errors.New("i/o timeout")
	dead := Check{ID: "edge-route", Title: "there is a way", Judge: func(*Evidence) Outcome { return fault("no way out") }}
	var found []string
	for _, r := range judge(slices.Concat([]Check{dead}, dnsChecks(), edgeChecks(), mqttChecks()), e).Findings() {
		found = append(found, r.ID)
	}
	if !slices.Equal(found, []string{"edge-route"}) {
		t.Errorf("got %q", found)
	}
}

func TestAccessIsToldWithAndWithoutAServiceToken(t *testing.T) {
	for _, id := range []string{"", "0123.access"} {
		e := outside(met(4, answered(probe.ClassAccessLogin, 302))...)
		e.Files.Settings.AccessID = id
		o := judgeEdgeAccess(e)
		if told := o.Remedy != ""; o.Status != Failed || told != (id != "") {
			t.Errorf("with %q: %+v", id, o)
		}
	}
}

func TestTheLatencyIsToldFromOutsideAndInside(t *testing.T) {
	e := well(outside(back(), Trip{Result: probe.Result{Message: 30 * time.Millisecond}}, Trip{Result: probe.Result{Message: 10 * time.Millisecond}}))
	if got, want := judgePublicMessage(e).Sentence, "a message came back through wss://mqtt.example.com in 20ms, inside the network in 2ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAQuietConnectionIsJudged(t *testing.T) {
	lost := failedAt(probe.StageMessage, probe.ClassConnectionLost)
	given := failedAt(probe.StageMessage, probe.ClassCancelled)
	for _, c := range []struct {
		soak   *Soak
		status Status
		want   string
	}{
		{nil, Skipped, "only --soak looks at it"},
		{&Soak{Asked: time.Minute, Held: time.Minute}, Passed, "a quiet connection stayed open for 1m0s"},
		{&Soak{Asked: time.Minute, Held: 10 * time.Second, Err: &lost}, Failed, "a quiet connection was lost after 10s"},
		{&Soak{Asked: time.Minute, Held: time.Minute, Err: &lost}, Failed, "after 1m0s of quiet no message came back"},
		{&Soak{Asked: time.Minute, Err: &lost}, Failed, "no connection could be made that stays quiet"},
		{&Soak{Asked: time.Minute, Held: time.Second, Err: &given}, Skipped, "given up after 1s"},
	} {
		if o := judgeIdle(&Evidence{Public: PublicEvidence{Soak: c.soak}}); o.Status != c.status || o.Sentence != c.want {
			t.Errorf("%+v: got %s %q", c.soak, o.Status, o.Sentence)
		}
	}
}

func TestTheHostnameIsTheOneThatIsSetOrPublishedOrMeant(t *testing.T) {
	const service = "http://mosquitto:9001"
	status := func(rules ...cloudflared.Rule) *lifecycle.Status {
		return &lifecycle.Status{Ingress: cloudflared.Ingress{Version: 1, Rules: append(rules, cloudflared.Rule{Service: "http_status:404"})}}
	}
	web := cloudflared.Rule{Hostname: "www.example.com", Service: "http://nginx:80"}
	right := cloudflared.Rule{Hostname: "mqtt.example.com", Service: service}
	wrong := cloudflared.Rule{Hostname: "mqtt.example.com", Service: "http://localhost:9001"}
	report := &probe.Report{Config: probe.Endpoint{Body: []byte(`{"version":1,"config":{"ingress":[{"hostname":"in.example.com","service":"http://mosquitto:9001"},{"service":"http_status:404"}]}}`)}}
	for _, c := range []struct {
		name string
		e    Evidence
		want string
	}{
		{"nothing known", Evidence{}, ""},
		{"set", Evidence{Files: FilesEvidence{Settings: &config.Settings{Hostname: "set.example.com"}}, Project: ProjectEvidence{Status: status(right)}}, "set.example.com"},
		{"published", Evidence{Project: ProjectEvidence{Status: status(web, right)}, Inside: InsideEvidence{Report: report}}, "mqtt.example.com"},
		{"meant", Evidence{Project: ProjectEvidence{Status: status(web, wrong)}}, "mqtt.example.com"},
		{"told by the look from inside", Evidence{Inside: InsideEvidence{Report: report}}, "in.example.com"},
	} {
		if got := publicHostname(Sources{Service: service}, &c.e); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheFileOrResolverThatAnswersIsTold(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"hosts":       "127.0.0.1 localhost\n# 10.0.0.1 other.example.com\n10.0.0.1 a MQTT.example.com. # the broker\n",
		"resolv.conf": "# by hand\nsearch lan\nnameserver 192.168.1.1\nnameserver 9.9.9.9\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"mqtt.example.com":  "/etc/hosts line 3",
		"other.example.com": "resolver 192.168.1.1, 9.9.9.9",
	} {
		if got := answeredBy(root, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := answeredBy(filepath.Join(root, "nowhere"), publicName); got != "" {
		t.Errorf("without files: got %q", got)
	}
}

package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// stoppedAt is what the probe's message met on its way to a broker that runs.
func stoppedAt(trip probe.Check, addresses []string, age time.Duration, serving bool) *Evidence {
	at := time.Date(2026, 8, 20, 11, 0, 0, 0, time.UTC)
	d := plan.Details{StartedAt: at.Add(-age)}
	d.State = plan.StateRunning
	e := &Evidence{At: at}
	e.Project.Status = &lifecycle.Status{Serving: serving, Details: map[string]plan.Details{plan.ServiceBroker: d}}
	broker := plan.Container{ID: "b", Labels: map[string]string{plan.LabelService: plan.ServiceBroker}, Networks: map[string]string{"default": "1", "lan": "2"}}
	connector := plan.Container{ID: "c", Labels: map[string]string{plan.LabelService: plan.ServiceConnector}, Networks: map[string]string{"default": "1"}}
	other := plan.Container{ID: "o", Name: "other", State: plan.StateRunning, Networks: map[string]string{"default": "1"}}
	e.Project.Observed = &plan.Observed{Containers: []plan.Container{broker, connector}}
	e.Project.All = []plan.Container{broker, connector, other}
	e.Inside.Report = &probe.Report{RoundTrip: trip, Addresses: addresses}
	return e
}

func TestTheWayToTheBrokerIsJudgedByWhereTheMessageStopped(t *testing.T) {
	own := []string{"172.18.0.2", "fd00::2"}
	for name, c := range map[string]struct {
		e    *Evidence
		want string
	}{
		"well":           {stoppedAt(ok(), own, time.Hour, true), ""},
		"not looked":     {&Evidence{}, ""},
		"starting":       {stoppedAt(not(probe.StageTCP, probe.ClassRefused), own, time.Second, false), ""},
		"a second one":   {stoppedAt(ok(), []string{"172.18.0.2", "172.18.0.9"}, time.Hour, true), "failed broker-resolves: another container has the broker's name on the connector's network, so that messages go here and there"},
		"no name":        {stoppedAt(not(probe.StageDNS, probe.ClassNameUnknown), nil, time.Hour, true), "failed broker-resolves: the connector does not find the broker's name"},
		"refused":        {stoppedAt(not(probe.StageTCP, probe.ClassRefused), own, time.Hour, true), "failed broker-reached: the broker does not listen where the connector looks"},
		"filtered":       {stoppedAt(not(probe.StageTCP, probe.ClassTCPTimeout), own, time.Hour, true), "failed broker-reached: the connector gets no connection to the broker"},
		"no WebSocket":   {stoppedAt(not(probe.StageUpgrade, probe.ClassNotHTTP), own, time.Hour, true), "failed broker-upgrade: what answers at there is not the broker's WebSocket listener"},
		"login":          {stoppedAt(not(probe.StageConnect, probe.ClassNotAuthorised), own, time.Hour, true), "failed probe-login: the broker refuses the probe's own account"},
		"topic":          {stoppedAt(not(probe.StageSubscribe, probe.ClassSubscribeDenied), own, time.Hour, true), "failed probe-topic: the broker accepts the probe's account but not its topic"},
		"lost":           {stoppedAt(not(probe.StageMessage, probe.ClassConnectionLost), own, time.Hour, true), "failed message-inside: no message gets through the broker"},
		"full, or stuck": {stoppedAt(not(probe.StageUpgrade, probe.ClassUpgradeTimeout), own, time.Hour, true), "failed broker-upgrade: the broker does not answer a WebSocket client"},
	} {
		d := judge(originChecks(), c.e)
		if got := first(d); got != c.want || len(d.Findings()) > 1 {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestABrokerThatRefusesTheProbeIsMadeToReadItsUsersAgain(t *testing.T) {
	for name, c := range map[string]struct {
		trip  probe.Check
		again bool
	}{
		"login": {not(probe.StageConnect, probe.ClassNotAuthorised), true},
		"topic": {not(probe.StageMessage, probe.ClassNotReturned), true},
		"busy":  {not(probe.StageConnect, probe.ClassBrokerBusy), false},
	} {
		found := judge(originChecks(), stoppedAt(c.trip, nil, time.Hour, true)).Findings()
		if len(found) != 1 || slices.Contains(found[0].Commands, "mqtunnel restart mosquitto") != c.again {
			t.Errorf("%s: want a restart: %t, got %+v", name, c.again, found)
		}
	}
}

func TestAProxyThatWouldTakeTheBrokersRequestsIsAFault(t *testing.T) {
	for name, c := range map[string]struct {
		env   []string
		fault bool
	}{
		"none":              {[]string{"PATH=/"}, false},
		"named":             {[]string{"HTTP_PROXY=http://user:hunter2@proxy.lan:3128", "NO_PROXY=localhost,mosquitto"}, false},
		"not named":         {[]string{"HTTP_PROXY=http://user:hunter2@proxy.lan:3128", "NO_PROXY=localhost"}, true},
		"lower case":        {[]string{"http_proxy=proxy.lan:3128"}, true},
		"lower case, named": {[]string{"http_proxy=proxy.lan:3128", "no_proxy=mosquitto:9001"}, false},
		"upper case wins":   {[]string{"HTTP_PROXY=proxy.lan:3128", "NO_PROXY=lan", "no_proxy=mosquitto"}, true},
		"for HTTPS only":    {[]string{"HTTPS_PROXY=proxy.lan:3128", "ALL_PROXY=proxy.lan:1"}, false},
		"empty":             {[]string{"HTTP_PROXY="}, false},
		"all":               {[]string{"HTTP_PROXY=proxy.lan:3128", "NO_PROXY=*"}, false},
		"no address":        {[]string{"HTTP_PROXY=http://user:hunter2@pro xy"}, true},
	} {
		e := &Evidence{}
		e.Project.Environment = map[string][]string{plan.ServiceConnector: c.env}
		got := judgeOriginProxy(e)
		if (got.Status == Failed) != c.fault {
			t.Errorf("%s: %+v", name, got)
		}
		if text := got.Sentence + strings.Join(got.Seen, "") + got.Remedy; strings.Contains(text, "hunter2") {
			t.Errorf("%s: a password is shown: %s", name, text)
		}
	}
	if got := judgeOriginProxy(&Evidence{}); got.Status != Skipped {
		t.Errorf("unseen: %+v", got)
	}
}

package edge

import (
	"testing"

	"mqtunnel/internal/lab/control"
)

func TestTheConnectorsOfATunnelAreServedInTurn(t *testing.T) {
	e := &Edge{}
	for _, connector := range []string{"a", "b"} {
		for index := range 4 {
			e.links = append(e.links, &link{tunnelID: "t", index: index, client: control.Connector{ConnectorID: connector}})
		}
	}
	last := ""
	for i := range 16 {
		if got := e.pick("t").client.ConnectorID; got == last {
			t.Fatalf("request %d went to connector %s, as the one before", i, got)
		} else {
			last = got
		}
	}
}

package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lab/control"
)

func TestFaultsAreReadAsJSONOrText(t *testing.T) {
	for _, c := range []struct {
		args []string
		want control.Faults
		err  string
	}{
		{args: nil},
		{args: []string{"udp=silent", "publicStatus=503", "stripUpgrade=true"}, want: control.Faults{UDP: "silent", PublicStatus: 503, StripUpgrade: true}},
		{args: []string{"registerError=Unauthorized: Invalid tunnel secret"}, want: control.Faults{RegisterError: "Unauthorized: Invalid tunnel secret"}},
		{args: []string{`registerError="EDUPCONN"`, "registerDelay=2s"}, want: control.Faults{RegisterError: "EDUPCONN", RegisterDelay: control.Duration(2 * time.Second)}},
		{args: []string{"udp"}, err: `"udp" is not KEY=VALUE`},
		{args: []string{"upd=silent"}, err: `unknown field "upd"`},
		{args: []string{"publicStatus=many"}, err: "read faults"},
	} {
		got, err := parseFaults(c.args)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want %q", c.args, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v, want %+v", c.args, got, err, c.want)
		}
	}
}

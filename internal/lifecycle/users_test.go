package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// login is the account of the tests of ChangeUsers.
func login() Login { return Login{User: "phone", Password: secret.New("pass word")} }

const loginFile = "/mosquitto/config/mosquitto_sub"

func TestALoginIsTriedUntilTheBrokerAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tries := newRecorder(), 0
		r.exec = func(cmd []string) (plan.ExecResult, error) {
			if strings.Contains(cmd[len(cmd)-1], "mosquitto_sub -t") {
				if tries++; tries < 3 {
					return plan.ExecResult{Code: 5, Output: "Connection Refused: not authorised.\n"}, nil
				}
			}
			return plan.ExecResult{}, nil
		}
		if err := ChangeUsers(t.Context(), r, "b1", home(), login()); err != nil {
			t.Fatal(err)
		}
		if tries != 3 {
			t.Errorf("%d tries, want 3", tries)
		}
		if last := r.calls[len(r.calls)-1]; last != "exec in b1: rm -f "+loginFile {
			t.Errorf("the last call is %q", last)
		}
		if got, want := r.files[loginFile], "-h 127.0.0.1\n-p 1883\n-u phone\n-P pass word\n-i mqtunnel-login\n"; got != want {
			t.Errorf("credentials file %q, want %q", got, want)
		}
		for _, call := range r.calls {
			if strings.Contains(call, "pass word") {
				t.Errorf("the password stands in %q", call)
			}
		}
	})
}

func TestCredentialsDoNotOutliveTheLogin(t *testing.T) {
	for name, prepare := range map[string]func(*recorder, context.CancelFunc){
		"refused": func(r *recorder, _ context.CancelFunc) {
			r.exec = func(cmd []string) (plan.ExecResult, error) {
				return plan.ExecResult{Code: map[bool]int{true: 5}[strings.Contains(cmd[len(cmd)-1], "-t ")], Output: "not authorised\n"}, nil
			}
		},
		"client missing": func(r *recorder, _ context.CancelFunc) {
			r.exec = func(cmd []string) (plan.ExecResult, error) {
				if strings.Contains(cmd[len(cmd)-1], "-t ") {
					return plan.ExecResult{}, errors.New("no such file")
				}
				return plan.ExecResult{}, nil
			}
		},
		"upload broken off": func(r *recorder, _ context.CancelFunc) {
			r.fails["copy "+loginFile+" to b1"] = errors.New("connection reset")
		},
		"caller gave up": func(r *recorder, cancel context.CancelFunc) {
			r.exec = func(cmd []string) (plan.ExecResult, error) {
				if strings.Contains(cmd[len(cmd)-1], "-t ") {
					cancel()
					return plan.ExecResult{Code: 5}, nil
				}
				return plan.ExecResult{}, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := newRecorder()
				prepare(r, cancel)
				err := ChangeUsers(ctx, r, "b1", home(), login())
				if err == nil || !strings.HasPrefix(err.Error(), "prove the change by a login: ") || strings.Contains(err.Error(), "pass word") {
					t.Errorf("error %v", err)
				}
				if last := r.calls[len(r.calls)-1]; last != "exec in b1: rm -f "+loginFile {
					t.Errorf("the last call is %q", last)
				}
			})
		})
	}
}

func TestAReloadTellsWhyItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.exec = func([]string) (plan.ExecResult, error) { return plan.ExecResult{Code: 1, Output: "mv: no space"}, nil }
		if err := Reload(t.Context(), r, "b1", []plan.File{{Path: "/a"}}); err == nil || !strings.Contains(err.Error(), "exit 1: mv: no space") {
			t.Errorf("error %v", err)
		}
		r = newRecorder()
		r.fails["copy /a.new to b1"] = errors.New("full")
		if err := Reload(t.Context(), r, "b1", []plan.File{{Path: "/a"}}); err == nil || strings.Contains(r.sorted(), "exec") {
			t.Errorf("error %v after calls %s", err, r.sorted())
		}
	})
}

package proof

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"mqtunnel/internal/lab/bench"
)

// fileFaults are those of the project directory.
func fileFaults() []fault {
	// A line that a person corrects: all files are as they were.
	files := func(name, code string, of subject, inject func(*site) error) fault {
		return fault{
			name: name, code: code, of: []subject{of}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error { return inject(s) },
			mend:   by((*site).corrected),
		}
	}
	line := func(name, code, key, value string) fault {
		return files(name, code, ofEnv, func(s *site) error { return s.set(key, value) })
	}
	warned := func(f fault) fault {
		f.warns = true
		return f
	}
	return []fault{
		files("env missing", "MQT-F01", ofEnv, func(s *site) error {
			return os.Remove(filepath.Join(s.dir, ".env"))
		}),
		{
			name: "env unreadable", code: "MQT-F01", of: []subject{ofEngine, ofEnv}, stage: stageVantage,
			inject: func(ctx context.Context, s *site) error {
				if err := s.asSomebody(ctx, 0o666); err != nil {
					return err
				}
				return os.Chown(filepath.Join(s.dir, ".env"), 0, 0)
			},
			mend: func(_ context.Context, s *site) error {
				return os.Chown(filepath.Join(s.dir, ".env"), somebody, somebody)
			},
		},
		{
			name: "env world-readable", code: "MQT-F02", of: []subject{ofEnv}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error { return os.Chmod(filepath.Join(s.dir, ".env"), 0o644) }, //nolint:gosec // the fault
			mend:   func(_ context.Context, s *site) error { return os.Chmod(filepath.Join(s.dir, ".env"), 0o600) },
		},
		files("env line broken", "MQT-F03", ofEnv, func(s *site) error {
			return s.edit(".env", func(text string) string { return text + "this is no line\n" })
		}),
		files("env quote open", "MQT-F03", ofEnv, func(s *site) error {
			return s.edit(".env", func(text string) string { return text + "MQTT_SAVE_INTERVAL=\"60\nTUNNEL_LOGLEVEL=info\n" })
		}),
		files("env dialect", "MQT-F04", ofEnv, func(s *site) error {
			return s.edit(".env", func(text string) string {
				return text + "CF_ACCESS_CLIENT_ID=id.access\nCF_ACCESS_CLIENT_SECRET=pa$$word\n"
			})
		}),
		line("setting senseless", "MQT-F05", "MQTT_SAVE_INTERVAL", "often"),
		line("project name senseless", "MQT-F05", "COMPOSE_PROJECT_NAME", "My-Project"),
		{
			name: "environment differs from env", code: "MQT-F06", of: []subject{ofEnvironment}, stage: stageVantage,
			inject: func(_ context.Context, s *site) error {
				s.environ("TUNNEL_GRACE_PERIOD", "9s")
				return nil
			},
			mend: by((*site).usually),
		},
		warned(line("setting misspelt", "MQT-F07", "MQTT_HOSTNAM", "mqtt.example.com")),
		files("password file broken", "MQT-F08", ofUsers, func(s *site) error {
			return s.edit("mosquitto/passwd", func(text string) string { return text + "no colon\n" })
		}),
		files("acl file broken", "MQT-F08", ofUsers, func(s *site) error {
			return s.edit("mosquitto/acl", func(text string) string { return text + "topic everywhere please x\n" })
		}),
		files("conf.d opens the broker", "MQT-F09", ofConf, func(s *site) error {
			return s.write("mosquitto/conf.d/mine.conf", "# mine\nallow_anonymous true\n")
		}),
		files("override is no YAML", "MQT-F10", ofOverride, func(s *site) error {
			return s.edit("compose.override.yaml", func(text string) string { return text + "services: [\n" })
		}),
		files("override asks for what is not done", "MQT-F10", ofOverride, func(s *site) error {
			return s.override("    blkio_config:\n      weight: 300\n", "", "")
		}),
		{
			name: "compose.yaml edited", code: "MQT-F11", of: []subject{ofCompose}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error {
				return s.edit("compose.yaml", func(text string) string {
					return strings.Replace(text, "mem_limit: 256m", "mem_limit: 300m", 1)
				})
			},
			mend: func(ctx context.Context, s *site) error { return s.must(ctx, "render", "--force") },
		},
		{
			name: "env in git", code: "MQT-F12", of: []subject{ofDirectory, ofEnv}, stage: stageFiles, warns: true,
			inject: func(ctx context.Context, s *site) error {
				dir := filepath.Join(s.dir, ".git")
				s.hold(closer(func() error { return os.RemoveAll(dir) }))
				if err := s.git(ctx, "init", "--quiet"); err != nil {
					return err
				}
				return s.git(ctx, "add", "--force", ".env")
			},
			mend: func(ctx context.Context, s *site) error { return s.git(ctx, "rm", "--quiet", "--cached", ".env") },
		},
		{
			name: "project of another directory", code: "MQT-F13", of: []subject{ofDirectory}, stage: stageVantage,
			inject: func(_ context.Context, s *site) error {
				dir := filepath.Join(s.parent, "copy")
				s.vantage.dir = dir
				s.hold(closer(func() error { return os.RemoveAll(dir) }))
				if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
					return err
				}
				return os.Chmod(filepath.Join(dir, ".env"), 0o600)
			},
			mend: by((*site).usually),
		},
		{
			name: "env newer than what runs", code: "MQT-F14", of: []subject{ofEnv}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error {
				return s.set("TUNNEL_GRACE_PERIOD", fmt.Sprintf("%ds", 6+rand.N(80))) //nolint:gosec // any value that differs
			},
			mend: by((*site).up),
		},
		{
			name: "LAN address of another host, before up", code: "MQT-B03", of: []subject{ofEnv}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error { return s.set("MQTT_LAN_LISTEN", nowhere+":1883") },
			mend:   by((*site).corrected),
		},
		{
			name: "directive that the broker does not know, before up", code: "MQT-F09", of: []subject{ofConf}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error {
				return s.write("mosquitto/conf.d/mine.conf", "no_such_directive true\n")
			},
			mend: func(_ context.Context, s *site) error {
				return os.Remove(filepath.Join(s.dir, "mosquitto/conf.d/mine.conf"))
			},
		},
		{
			name: "password of the probe gone", code: "MQT-O05", of: []subject{ofEnv, ofBroker}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error { return s.set("MQTUNNEL_PROBE_PASSWORD", "") },
			mend: func(ctx context.Context, s *site) error {
				if err := s.up(ctx); err != nil {
					return err
				}
				return s.remember()
			},
		},
	}
}

// corrected is a person who writes what was there before.
func (s *site) corrected(context.Context) error {
	_, err := s.restore()
	return err
}

// git runs git in the project directory.
func (s *site) git(ctx context.Context, args ...string) error {
	r, err := s.b.run(ctx, command{dir: s.dir, path: "git", args: args})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("git %s: %s", args[0], r.err)
	}
	return err
}

// tokenFaults are those of the tunnel token.
func tokenFaults() []fault {
	// What people put into .env instead of the token.
	pasted := func(name, code string, text func(token string) string) fault {
		return fault{
			name: name, code: code, of: []subject{ofEnv}, stage: stageFiles,
			inject: func(_ context.Context, s *site) error {
				return s.set("CLOUDFLARE_TUNNEL_TOKEN", text(s.tunnel.Token.Reveal())) // where the product takes it from
			},
			mend: by((*site).tokenSet),
		}
	}
	edge := func(name, code string, sh shape, inject, mend act) fault {
		return fault{name: name, code: code, of: []subject{ofTunnel}, stage: stageEngine, shape: sh, connector: true, inject: inject, mend: mend}
	}
	http2, quic := shape{settings: "TUNNEL_TRANSPORT_PROTOCOL=http2"}, shape{settings: "TUNNEL_TRANSPORT_PROTOCOL=quic"}
	return []fault{
		pasted("token missing", "MQT-T01", func(string) string { return "" }),
		pasted("token truncated", "MQT-T02", func(t string) string { return t[:len(t)-20] }),
		pasted("token quoted twice", "MQT-T02", func(t string) string { return `'"` + t + `"'` }),
		pasted("API token", "MQT-T02", func(string) string { return "v1.0-" + strings.Repeat("0a1b2c3d", 20) }),
		pasted("short API token", "MQT-T02", func(string) string { return "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789-_aB" }),
		pasted("whole command", "MQT-T02", func(t string) string {
			return "'docker run cloudflare/cloudflared:latest tunnel --no-autoupdate run --token " + t + "'"
		}),
		{
			name: "token of another tunnel", code: "MQT-T03", of: []subject{ofEnv, ofTunnel}, stage: stageFiles, connector: true,
			inject: func(ctx context.Context, s *site) error {
				if err := s.newTunnel(ctx); err != nil {
					return err
				}
				return s.set("CLOUDFLARE_TUNNEL_TOKEN", s.tunnel.Token.Reveal()) // where the product takes it from
			},
			mend: by((*site).up),
		},
		{
			name: "token shown by an older container", code: "MQT-T04", of: []subject{ofOthers}, stage: stageEngine,
			inject: func(ctx context.Context, s *site) error {
				return s.foreign(ctx, s.older(), containerShowing(s.tunnel.Token.Reveal())) // the fault
			},
			mend: func(ctx context.Context, s *site) error { return s.removeContainer(ctx, s.older()) },
		},
		edge("token rotated, over http2", "MQT-T06", http2, by((*site).rotate), by((*site).tokenSet)),
		edge("token rotated, over quic", "MQT-T06", quic, by((*site).rotate), by((*site).tokenSet)),
		edge("tunnel deleted, over http2", "MQT-T07", http2, by((*site).deleteTunnel), by((*site).anotherTunnel)),
		edge("tunnel deleted, over quic", "MQT-T06", quic, by((*site).deleteTunnel), by((*site).anotherTunnel)),
	}
}

// older is the name of a container of another time.
func (s *site) older() string { return bench.ProjectName(s.lab.Name, "older") }

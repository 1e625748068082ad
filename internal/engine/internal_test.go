//go:build unix

package engine

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

const first, second = "2026-01-02T03:04:05.000000001Z ", "2026-01-02T03:04:05.000000002Z "

func TestFramesBecomeLines(t *testing.T) {
	type frame struct {
		stream stdcopy.StdType
		text   string
	}
	for _, c := range []struct {
		name   string
		frames []frame
		want   string
	}{
		{"pieces of one line have a stamp each", []frame{{1, first + "ab"}, {1, second + "cd\n"}}, "out 1 abcd"},
		{"streams do not mix", []frame{{1, first + "a"}, {2, second + "b\n"}, {1, second + "c\n"}}, "err 2 b|out 1 ac"},
		{"open lines come by age", []frame{{2, second + "b"}, {1, first + "a"}}, "out 1 a|err 2 b"},
		{"an empty line is one", []frame{{1, first + "\n"}}, "out 1 "},
		{"an empty last line is one", []frame{{1, first}}, "out 1 "},
		{"text like a stamp stays", []frame{{1, first + second + "x\n"}}, "out 1 " + second + "x"},
		{"no stamp, all text", []frame{{1, "hello world\n"}}, "out 0 hello world"},
		{"carriage returns stay", []frame{{1, first + "a\r\n"}}, "out 1 a\r"},
		{"a long line is cut", []frame{{1, first + strings.Repeat("x", 3*maxLine) + "\n"}, {1, second + "y\n"}}, "out 1 " + strings.Repeat("x", maxLine) + "|out 2 y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var in bytes.Buffer
			for _, f := range c.frames {
				if _, err := stdcopy.NewStdWriter(&in, f.stream).Write([]byte(f.text)); err != nil {
					t.Fatal(err)
				}
			}
			if got := collect(t, &in); got != c.want {
				t.Errorf("got  %.200q\nwant %.200q", got, c.want)
			}
		})
	}
	cut := bytes.NewReader([]byte{1, 0, 0, 0, 0, 0, 0, 9, 'x'})
	if _, broken := errors.AsType[*streamError](readFrames(cut, func(plan.LogLine) error { return nil })); !broken {
		t.Error("a frame that is cut short is not a broken stream")
	}
}

// collect reads frames and writes the lines by stream, nanosecond and text.
func collect(t *testing.T, in io.Reader) string {
	t.Helper()
	var lines []string
	err := readFrames(in, func(l plan.LogLine) error {
		stream := "out "
		if l.Stderr {
			stream = "err "
		}
		lines = append(lines, stream+string(rune('0'+l.Time.Nanosecond()))+" "+l.Text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "|")
}

func TestALineOfATerminalIsPassedOnBeforeTheNextComes(t *testing.T) {
	r, w := io.Pipe()
	lines, ended := make(chan plan.LogLine, 1), make(chan error, 1)
	go func() {
		ended <- readRaw(r, func(l plan.LogLine) error { lines <- l; return nil })
	}()
	if _, err := io.WriteString(w, first+"x\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case l := <-lines:
		if l.Text != "x" || l.Time.Nanosecond() != 1 {
			t.Errorf("line %+v", l)
		}
	case <-time.After(10 * time.Second):
		t.Error("the line waits for more")
	}
	if err := errors.Join(w.Close(), <-ended); err != nil {
		t.Error(err)
	}
}

func FuzzReadFrames(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 3, 'a', '\n', 'b'})
	f.Add([]byte{2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(l plan.LogLine) error {
			if len(l.Text) > maxLine || strings.Contains(l.Text, "\n") {
				t.Errorf("line of %d bytes", len(l.Text))
			}
			return nil
		}
		// A broken stream is an error; that it neither panics nor hangs is the point.
		_ = readFrames(bytes.NewReader(data), check)
		_ = readRaw(bytes.NewReader(data), check)
	})
}

func FuzzPullStream(f *testing.F) {
	f.Add([]byte(`{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":2}}{"errorDetail":{"message":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Likewise.
		_ = follow(bytes.NewReader(data), "x", func(p plan.PullProgress) {
			if p.LayersDone > p.Layers {
				t.Errorf("progress %+v", p)
			}
		})
	})
}

func FuzzFlockHolder(f *testing.F) {
	f.Add("1: FLOCK  ADVISORY  WRITE 4711 08:01:131081 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 4712 08:01:131081 0 EOF\n")
	f.Fuzz(func(_ *testing.T, text string) { flockHolder(text, 131081) })
}

func TestTheFlockHolderIsFoundByInode(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 1 08:01:7 0 EOF
2: FLOCK  ADVISORY  WRITE 4711 08:01:131081 0 EOF
2: -> FLOCK  ADVISORY  WRITE 4712 08:01:131081 0 EOF
3: FLOCK  ADVISORY  WRITE 12 00:2f:81 0 EOF
`
	for inode, want := range map[uint64]int{131081: 4711, 81: 12, 7: 0, 1081: 0} {
		if got := flockHolder(locks, inode); got != want {
			t.Errorf("holder of inode %d is %d, want %d", inode, got, want)
		}
	}
}

// Registries and newer Engines cannot all be had here; their words can.
func TestKnownWordsOfRegistriesAreClassed(t *testing.T) {
	c := &Client{}
	for _, w := range []struct {
		text string
		code remedy.Code
		hint string
	}{
		{"pull access denied for x/y, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", remedy.Input, "docker login"},
		{`failed to resolve reference "docker.io/x/y:z": docker.io/x/y:z: not found`, remedy.Input, "no such image or tag"},
		{"toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit", remedy.Failed, "limits pulls"},
		{"no match for platform in manifest: not found", remedy.Input, "does not exist for linux/arm/v7"},
		{`Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 192.168.1.1:53: no such host`, remedy.Failed, "cannot reach"},
		{`Get "https://registry-1.docker.io/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`, remedy.Failed, "cannot reach"},
		{"failed to register layer: write /usr/bin/x: no space left on device", remedy.Failed, "disk is full"},
		{"failed to copy: httpReadSeeker: failed open: unexpected EOF", remedy.Failed, "connection to the registry broke"},
		{"read tcp 10.0.0.2:1->1.2.3.4:443: read: connection reset by peer", remedy.Failed, "connection to the registry broke"},
		{"something else", remedy.Failed, ""},
	} {
		err := c.pullError(t.Context(), "img:1", "linux/arm/v7", nil, errors.New("Error response from daemon: "+w.text))
		if remedy.CodeOf(err) != w.code || !strings.Contains(remedy.HintOf(err), w.hint) || (w.hint == "") != (remedy.HintOf(err) == "") {
			t.Errorf("%s\ngot code %d, hint %q; want %d, %q", w.text, remedy.CodeOf(err), remedy.HintOf(err), w.code, w.hint)
		}
	}
}

func TestWhatAnEngineCannotDoIsLeftOut(t *testing.T) {
	creation := plan.Creation{
		Labels: map[string]string{plan.LabelRole: plan.RoleBroker},
		Service: plan.Service{Name: "mosquitto", ContainerName: "m", Spec: plan.Spec{
			Networks: []plan.Endpoint{{Network: "a"}, {Network: "b"}},
			Health:   &plan.Health{StartPeriod: time.Minute},
		}},
	}
	for _, w := range []struct {
		api      string
		networks int
		start    time.Duration
	}{{"1.41", 1, 0}, {"1.43", 1, 0}, {"1.44", 2, time.Second}, {"1.51", 2, time.Second}} {
		docker, err := client.NewClientWithOpts(client.WithVersion(w.api))
		if err != nil {
			t.Fatal(err)
		}
		c := &Client{docker: docker}
		named, rest := c.endpoints(creation)
		health := c.health(creation.Service.Spec.Health, creation.Labels)
		if len(named) != w.networks || len(named)+len(rest) != 2 || health.StartInterval != w.start {
			t.Errorf("API %s: %d networks at create, %d after, start interval %s", w.api, len(named), len(rest), health.StartInterval)
		}
		creation.NetworkMode = "container:x"
		if named, rest := c.endpoints(creation); named != nil || rest != nil {
			t.Errorf("with a network mode: networks %v, %v", named, rest)
		}
		creation.NetworkMode = ""
		if err := docker.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheImageLabelIsThatOfThePlatform(t *testing.T) {
	manifest := func(id, arch, variant string, available bool) image.ManifestSummary {
		return image.ManifestSummary{
			ID: id, Available: available, Kind: image.ManifestKindImage,
			ImageData: &image.ImageProperties{Platform: ocispec.Platform{OS: "linux", Architecture: arch, Variant: variant}},
		}
	}
	attestation := image.ManifestSummary{ID: "att", Available: true, Kind: image.ManifestKindAttestation}
	c := &Client{}
	for _, w := range []struct {
		name, platform string
		manifests      []image.ManifestSummary
		want           string
	}{
		{"wanted platform", "linux/arm64", []image.ManifestSummary{manifest("a", "amd64", "", true), manifest("b", "arm64", "v8", true), attestation}, "b"},
		{"lone one, whatever it is", "linux/arm64", []image.ManifestSummary{manifest("a", "amd64", "", true), manifest("b", "arm64", "", false)}, "a"},
		{"variant", "linux/arm/v7", []image.ManifestSummary{manifest("a", "arm", "v6", true), manifest("b", "arm", "v7", true)}, "b"},
		{"none fits", "linux/riscv64", []image.ManifestSummary{manifest("a", "arm", "v6", true), manifest("b", "arm", "v7", true)}, ""},
	} {
		got, err := c.chooseManifest(t.Context(), availableManifests(w.manifests), w.platform)
		if err != nil || got != w.want {
			t.Errorf("%s: %q, %v; want %q", w.name, got, err, w.want)
		}
	}
}

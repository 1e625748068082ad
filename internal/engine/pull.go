package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// dockerHubKey is the name under which Docker keeps the credentials of Docker Hub.
const dockerHubKey = "https://index.docker.io/v1/"

// Pull fetches an image from its registry with the user's Docker credentials and
// passes on the progress, from one goroutine. platform is "linux/arm64", or ""
// for the Engine's own. Where the fault is known the error is a remedy.Error: a
// missing image, a refused login, a rate limit, a missing platform, an
// unreachable registry, a full disk.
func (c *Client) Pull(ctx context.Context, ref, platform string, report func(plan.PullProgress)) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return remedy.Errorf(remedy.Input, "an image reference looks like name:tag or registry/name:tag, all lower case",
			"pull %s: %w", ref, err)
	}
	auth, authErr := c.registryAuth(reference.Domain(named))
	body, err := docker.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth, Platform: platform})
	if err != nil {
		return c.pullError(ctx, ref, platform, authErr, err)
	}
	defer func() {
		// The stream was read to its end or is given up.
		_ = body.Close()
	}()
	if err := follow(body, ref, report); err != nil {
		return c.pullError(ctx, ref, platform, authErr, err)
	}
	return nil
}

// registryAuth returns the credentials for a registry as the Engine takes them,
// "" for none. The error of a credential helper is no reason to give up: most
// images are public.
func (c *Client) registryAuth(domain string) (string, error) {
	key := domain
	if domain == "docker.io" {
		key = dockerHubKey
	}
	stored, err := c.config.GetAuthConfig(key)
	if err != nil {
		return "", err
	}
	auth := registry.AuthConfig{
		Username: stored.Username, Password: stored.Password, Auth: stored.Auth,
		ServerAddress: stored.ServerAddress, IdentityToken: stored.IdentityToken, RegistryToken: stored.RegistryToken,
	}
	if auth == (registry.AuthConfig{ServerAddress: auth.ServerAddress}) {
		return "", nil
	}
	return registry.EncodeAuthConfig(auth)
}

// pullMessage is one message of the Engine's progress stream.
type pullMessage struct {
	Status   string `json:"status"`
	ID       string `json:"id"`
	Progress struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
	Error  string `json:"error"`
	Detail struct {
		Message string `json:"message"`
	} `json:"errorDetail"`
}

// follow reads a progress stream to its end and returns the error in it.
func follow(body io.Reader, ref string, report func(plan.PullProgress)) error {
	p := pulling{progress: plan.PullProgress{Ref: ref}, layers: map[string]*layer{}}
	in := json.NewDecoder(body)
	for {
		var m pullMessage
		err := in.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &transportError{err: err}
		case m.Detail.Message != "":
			return errors.New(m.Detail.Message)
		case m.Error != "":
			return errors.New(m.Error)
		}
		report(p.add(m))
	}
}

// layer is how far one layer is.
type layer struct {
	current, total int64
	done           bool
}

// pulling adds up the layers of one image.
type pulling struct {
	progress plan.PullProgress
	layers   map[string]*layer
}

// add takes one message into the sum. The bytes are those of the download: what
// is unpacked afterwards is the same bytes again.
func (p *pulling) add(m pullMessage) plan.PullProgress {
	p.progress.Status = m.Status
	if m.ID == "" || strings.HasPrefix(m.Status, "Pulling from ") {
		return p.progress
	}
	l := p.layers[m.ID]
	if l == nil {
		l = &layer{}
		p.layers[m.ID] = l
	}
	switch m.Status {
	case "Downloading":
		// A registry need not tell the size.
		l.current = m.Progress.Current
		l.total = max(l.total, m.Progress.Total, l.current)
	case "Download complete", "Verifying Checksum", "Extracting":
		l.total = max(l.total, m.Progress.Total)
		l.current = l.total
	case "Pull complete", "Already exists":
		l.current, l.done = l.total, true
	}
	p.progress.Done, p.progress.Total, p.progress.Layers, p.progress.LayersDone = 0, 0, len(p.layers), 0
	for _, l := range p.layers {
		p.progress.Done += l.current
		p.progress.Total += l.total
		if l.done {
			p.progress.LayersDone++
		}
	}
	return p.progress
}

// pullFault is a class of failure, known by what Engines and registries say.
type pullFault struct {
	code  remedy.Code
	marks []string
	hint  string // "" where it is platformHint that says what to do
}

// pullFaults lists the classes, the more special first: registries word the same
// fault in many ways, and the Engine passes on their words without a class.
func pullFaults() []pullFault {
	return []pullFault{
		{
			code:  remedy.Failed,
			marks: []string{"toomanyrequests", "429 too many requests", "pull rate limit"},
			hint:  "the registry limits pulls from this address: docker login raises the limit, or wait an hour and try again",
		},
		{
			code:  remedy.Failed,
			marks: []string{"no space left on device", "disk quota exceeded"},
			hint:  "the Engine's disk is full: docker system df shows what takes the room, docker image prune frees some",
		},
		{
			code: remedy.Input,
			marks: []string{
				"no matching manifest", "no match for platform", "does not match the specified platform",
				"does not provide the specified platform",
			},
		},
		{
			code: remedy.Input,
			marks: []string{
				"pull access denied", "unauthorized", "authentication required", "no basic auth credentials",
				"incorrect username or password", "requested access to the resource is denied", "insufficient_scope",
				"401 ", "403 forbidden",
			},
			hint: "the name is wrong, or the image is private and needs: docker login",
		},
		{
			code:  remedy.Input,
			marks: []string{"manifest unknown", "not found", "name unknown", "repository does not exist", "name invalid"},
			hint:  "there is no such image or tag: check its name in .env",
		},
		{
			code: remedy.Failed,
			marks: []string{
				"no such host", "connection refused", "i/o timeout", "network is unreachable", "no route to host",
				"handshake timeout", "client.timeout", "server misbehaving", "x509:", "server gave http response",
				"temporary failure in name resolution", "awaiting headers", "deadline exceeded",
			},
			hint: "the Engine cannot reach the registry: check its network, DNS and proxy (docker info shows the proxy)",
		},
		{
			code:  remedy.Failed,
			marks: []string{"eof", "connection reset", "broken pipe", "502 bad gateway", "503 service unavailable", "500 internal server error", "504 gateway"},
			hint:  "the connection to the registry broke: run the command again, what is complete is not fetched twice",
		},
	}
}

// pullError classes what a pull failed with.
func (c *Client) pullError(ctx context.Context, ref, platform string, authErr, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	wrapped := fmt.Errorf("pull %s: %w", ref, clean(err))
	if IsUnavailable(err) {
		return &remedy.Error{Code: remedy.Engine, Err: wrapped, Hint: "run the command again when the Engine is back"}
	}
	text := strings.ToLower(err.Error())
	for _, fault := range pullFaults() {
		for _, mark := range fault.marks {
			if !strings.Contains(text, mark) {
				continue
			}
			hint := fault.hint
			if hint == "" {
				hint = c.platformHint(ctx, platform)
			}
			if authErr != nil && fault.code == remedy.Input {
				hint += fmt.Sprintf("\nDocker's credential helper failed: %v", authErr)
			}
			return &remedy.Error{Code: fault.code, Err: wrapped, Hint: hint}
		}
	}
	return wrapped
}

// platformHint names the platform that an image is not made for.
func (c *Client) platformHint(ctx context.Context, platform string) string {
	arch := platform
	if arch == "" {
		if info, err := c.Version(ctx); err == nil {
			arch = info.OS + "/" + info.Arch
		}
	}
	hint := "the image does not exist for " + arch
	if strings.HasPrefix(arch, "linux/arm") && !strings.HasPrefix(arch, "linux/arm64") {
		hint += "; there is no cloudflared image for 32-bit ARM: install a 64-bit system (a Raspberry Pi 3 or newer runs one)"
	}
	return hint
}

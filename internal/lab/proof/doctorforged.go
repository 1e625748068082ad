package proof

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/mosquitto"
)

// mark is the word that betrays a client's text wherever it turns up.
const mark = "zqforged"

// placeholder is a variable part of a message.
var placeholder = regexp.MustCompile(`<[^>]*>`)

// imitations returns every message of both tables with the variable parts filled in,
// and what the start script and the health checks say.
func imitations() []string {
	filled := map[string]string{
		"<n>": "7", "<version>": "2.1.2", "<address>": "192.0.2.1:9", "<protocol>": "http2", "<client>": mark, "<user>": "admin",
		"<report>": "bytes=0 retained=0 previous=900 previous-retained=90 copies=3 state=shrunk lost-since=1 lost-retained=90 lost-bytes=900",
	}
	var list []string
	for _, message := range slices.Concat(mosquitto.Messages(), cloudflared.Messages(), []string{
		"mqtunnel: error: " + mark, "Client mqtunnel-health [127.0.0.1:9] disconnected: not authorised.",
	}) {
		text := placeholder.ReplaceAllStringFunc(message, func(p string) string {
			if text, known := filled[p]; known {
				return text
			}
			return mark
		})
		list = append(list, strings.TrimLeft(text, "\t")) // which the broker takes from nobody
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// harmless returns as many texts that imitate nothing, every other of which makes no
// method of a request.
func harmless(n int) []string {
	var list []string
	for i := range n {
		list = append(list, []string{"device ", "7 device "}[i%2]+strconv.Itoa(i))
	}
	return list
}

// guises are how a text is dressed up as a line of its own: with the stamps of either
// log, behind line ends, escape sequences and characters that turn the direction.
func guises(text string) []string {
	return []string{
		text,
		"2026-11-26T01:20:24+0000: " + text,
		"2026-11-26T01:20:24Z ERR " + text,
		"x\u2028\u202e" + text + "\u2066",
		"x\n\x1b[2K\r" + text,
		tooLong(text),
	}
}

// tooLong puts the text at the end of a client ID with which the broker, which writes
// 999 bytes of a line, cuts its own words off.
func tooLong(text string) string {
	return strings.Repeat("x", max(0, 999-len("2026-11-26T01:20:24+0000: Client ")-len(text))) + text
}

// doctorForged lets everybody who can reach the broker say what the tables say.
func doctorForged(ctx context.Context, b *Bench) (figure string, err error) {
	if err := b.tryVantage(ctx); err != nil {
		return "", err
	}
	s, err := b.site(ctx, "forged")
	if err != nil {
		return "", err
	}
	defer finish(&err, s.close)
	texts := imitations()
	var figures []string
	for _, version := range images.Versions() {
		if err := s.fresh(ctx, shape{mosquitto: version, settings: "TUNNEL_LOGLEVEL=debug"}); err != nil {
			return "", err
		}
		if err := s.becomes(ctx, diagnosis.clean); err != nil {
			return "", err
		}
		lines, err := s.forge(ctx, texts)
		if err != nil {
			return "", fmt.Errorf("mosquitto %s: %w", version, err)
		}
		figures = append(figures, fmt.Sprintf("mosquitto %s: %d of %d rows imitated in both logs by %d lines, 0 findings", version, len(texts), len(texts), lines))
	}
	told, err := s.edgeSays(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; %d answers of edge and servers changed no verdict; nothing raw on any output, nothing forged in the bundle", strings.Join(figures, "; "), told), nil
}

// batch is how many texts are said before somebody looks: of more lines than theirs
// doctor looks at the last ones only.
const batch = 12

// forge says all texts, harmless ones first, looks between and wants nothing found.
func (s *site) forge(ctx context.Context, texts []string) (lines int, err error) {
	password, err := s.password(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.neighbours(ctx); err != nil {
		return 0, err
	}
	defer finish(&err, s.release)
	usual := map[string]bool{}
	if err := s.say(ctx, password, harmless(batch)); err != nil {
		return 0, err
	}
	if err := s.bundled(ctx, func(template string) error { usual[template] = true; return nil }); err != nil {
		return 0, err
	}
	for said := range slices.Chunk(texts, batch) {
		if err := s.unmoved(ctx, password, said, usual); err != nil {
			return 0, fmt.Errorf("with lines that imitate %q: %w", said, err)
		}
		s.b.logf("%d more rows imitated, 0 findings", len(said))
	}
	if err := s.nothingRaw(ctx); err != nil {
		return 0, err
	}
	if r, err := s.plain(ctx, "status"); err != nil || r.code != 0 {
		return 0, missed("status: exit %d: %s: %w", r.code, r.out, err)
	}
	return s.standing(ctx, texts)
}

// unmoved says texts and wants nothing found, and no line in the bundle that is not
// there for harmless texts too.
func (s *site) unmoved(ctx context.Context, password string, texts []string, usual map[string]bool) error {
	if err := s.say(ctx, password, texts); err != nil {
		return err
	}
	if err := s.quiet(ctx, "busy"); err != nil {
		return err
	}
	return s.bundled(ctx, func(template string) error {
		if !usual[template] && !background(template) {
			return missed("the bundle takes a line for %q", template)
		}
		return nil
	})
}

// neighbours makes containers of others whose names and settings imitate messages.
func (s *site) neighbours(ctx context.Context) error {
	for _, name := range []string{"Error.saving.in-memory.database", "mqtunnel-error"} {
		name = s.lab.Name + "-" + name
		if err := s.foreign(ctx, name, container.Config{
			Env: []string{"X=\x1b[31m\u202e" + mark}, Cmd: []string{"Unauthorized: Invalid tunnel secret"},
		}); err != nil {
			return err
		}
		s.hold(closer(func() error { return s.removeContainer(context.WithoutCancel(ctx), name) }))
	}
	return nil
}

// background reports whether a line is one that comes with time.
func background(template string) bool {
	return strings.HasPrefix(template, "Saving in-memory database to ") || strings.HasSuffix(template, "Retrying connection in up to <time>")
}

// standing wants each text in both logs, as docker logs shows them, and counts the
// lines.
func (s *site) standing(ctx context.Context, texts []string) (lines int, err error) {
	for _, service := range []string{broker, connector} {
		r, err := s.b.run(ctx, command{path: "docker", args: []string{"logs", s.container(service)}})
		if err != nil {
			return 0, err
		}
		log := r.all()
		if plain, err := url.PathUnescape(strings.ReplaceAll(log, "%", "%25")); err == nil && service == connector {
			log += plain
		}
		for _, text := range texts {
			n := strings.Count(log, text) + strings.Count(log, url.PathEscape(text))
			if n == 0 {
				return 0, missed("%q is not in the log of %s", text, service)
			}
			lines += n
		}
	}
	return lines, nil
}

// bundled makes a bundle, wants none of the clients' words in it, and passes on what
// its logs take lines for.
func (s *site) bundled(ctx context.Context, each func(template string) error) error {
	files, _, err := s.makeBundle(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		name, text := f.Name, string(f.Data)
		if strings.Contains(text, mark) || strings.Contains(text, "lost-since") {
			return missed("%s in the bundle holds a client's words: %s", name, text)
		}
		if err := plainText(text); err != nil {
			return missed("%s in the bundle: %w", name, err)
		}
		if !strings.HasSuffix(name, "-log.txt") {
			continue
		}
		for line := range strings.Lines(text) {
			if template, found := strings.CutPrefix(bundleRow.ReplaceAllString(line, "="), "="); found {
				if err := each(strings.TrimSpace(template)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bundleRow is what stands before a line of a log in a bundle: when, how often, and
// its level.
var bundleRow = regexp.MustCompile(`^ *(-?\d+s|\?) +\d+x (.....) |^ {21}= `)

// makeBundle makes a bundle of the project as it is, and returns what is in it and
// what was shown.
func (s *site) makeBundle(ctx context.Context) (files []doctor.BundleFile, shown string, err error) {
	path := filepath.Join(s.parent, "bundle.tar.gz")
	r, err := s.mqtunnel(ctx, "", "doctor", "--bundle", path, "--yes")
	if err != nil {
		return nil, "", err
	}
	if r.code != 0 {
		return nil, "", fmt.Errorf("doctor --bundle: exit %d: %s", r.code, r.err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if info.Mode().Perm() != 0o600 {
		return nil, "", missed("the bundle has mode %04o", info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	files, err = unpacked(data)
	return files, r.out, errors.Join(err, os.Remove(path))
}

// unpacked reads an archive.
func unpacked(data []byte) ([]doctor.BundleFile, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var files []doctor.BundleFile
	archive := tar.NewReader(zipped)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(archive, 1<<24))
		if err != nil {
			return nil, err
		}
		if owner := head.Uname + head.Gname; head.Uid != 0 || owner != "" {
			return nil, missed("%s in the bundle belongs to %d %s", head.Name, head.Uid, owner)
		}
		files = append(files, doctor.BundleFile{Name: strings.TrimPrefix(head.Name, "mqtunnel-doctor/"), Data: text})
	}
}

// nothingRaw runs everything that shows something of the project and wants no character
// that moves, colours or turns what a terminal shows.
func (s *site) nothingRaw(ctx context.Context) error {
	for _, args := range [][]string{
		{"doctor"}, {"doctor", "-v"}, {"doctor", "--json"}, {"status"}, {"status", "--live"}, {"status", "--json"}, {"logs"}, {"logs", "--json"},
	} {
		if _, err := s.plain(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// plain runs the binary, and wants lines of visible characters, which are JSON where
// that was asked for.
func (s *site) plain(ctx context.Context, args ...string) (result, error) {
	r, err := s.mqtunnel(ctx, "", args...)
	if err != nil {
		return r, err
	}
	if err := plainText(r.all()); err != nil {
		return r, missed("%v: %w", args, err)
	}
	if !slices.Contains(args, "--json") {
		return r, nil
	}
	for d := json.NewDecoder(strings.NewReader(r.out)); d.More(); {
		var object map[string]any
		if err := d.Decode(&object); err != nil {
			return r, missed("%v: %w", args, err)
		}
	}
	return r, nil
}

// plainText wants nothing but lines of visible characters.
func plainText(text string) error {
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") || r != '\n' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return missed("byte %d is %U: %q", i, r, text[max(0, i-60):min(len(text), i+20)])
		}
	}
	return nil
}

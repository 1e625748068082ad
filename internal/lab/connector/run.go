package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// connector is one run of "tunnel run".
type connector struct {
	settings    settings
	log         *logger
	id          uuid.UUID
	tracker     *tracker
	counts      *counters
	config      *configuration
	proxy       *proxy
	edge        *pool
	first       string // the protocol that the first connection starts with
	mayFallBack bool
	stopping    chan struct{} // closed by the first signal
}

// run serves the tunnel until a signal or a fatal error.
func run(s settings, stderr io.Writer) error {
	log := newLogger(s.given, stderr)
	c := &connector{
		settings: s, log: log, id: uuid.New(), tracker: newTracker(), counts: newCounters(runtime.Version()), stopping: make(chan struct{}),
	}
	c.config = newConfiguration(log, c.counts)
	c.proxy = &proxy{log: log, config: c.config, counts: c.counts, id: c.id}
	c.introduce()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	listening := make(chan struct{})
	go c.listen(listening)
	<-listening

	if err := c.prepare(ctx); err != nil {
		log.failure("Couldn't start tunnel", err, nil)
		return err
	}
	return c.work(ctx, cancel)
}

func newLogger(g given, stderr io.Writer) *logger {
	log := &logger{out: stderr, asJSON: g.text("output") == "json", least: levelInfo, now: time.Now}
	levels := map[string]level{"debug": levelDebug, "info": levelInfo, "warn": levelWarn, "error": levelError, "fatal": levelFatal}
	if least, known := levels[g.text("loglevel")]; known {
		log.least = least
	} else {
		log.failure("Failed to parse log level", fmt.Errorf("Unknown Level String: '%s', defaulting to NoLevel", g.text("loglevel")), nil) //nolint:staticcheck // cloudflared's text
	}
	return log
}

// listen turns the first signal into an orderly end; a second one has its default effect.
func (c *connector) listen(listening chan<- struct{}) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	close(listening)
	got := <-signals
	c.log.info(fmt.Sprintf("Initiating graceful shutdown due to signal %s ...", got), nil)
	signal.Stop(signals)
	close(c.stopping)
}

// introduce writes the first lines of the log.
func (c *connector) introduce() {
	c.log.info("Starting tunnel", fields{"tunnelID": c.settings.token.TunnelID})
	if c.settings.fromFile {
		c.log.info("Cannot determine default configuration path. No file [config.yml config.yaml] in [~/.cloudflared ~/.cloudflare-warp ~/cloudflare-warp /etc/cloudflared /usr/local/etc/cloudflared]", nil)
	}
	c.log.info(fmt.Sprintf("Version %s (Checksum %s)", release(c.settings.environ), checksum()), nil)
	c.log.info(fmt.Sprintf("GOOS: %s, GOVersion: %s, GoArch: %s", runtime.GOOS, runtime.Version(), runtime.GOARCH), nil)
	set := maps.Clone(c.settings.given.explicit)
	if _, given := set["token"]; given {
		set["token"] = "*****"
	} else if value, _ := lookup(c.settings.environ, "TUNNEL_TOKEN"); value != "" && len(set) > 0 {
		set["token"] = "*****"
	}
	if len(set) > 0 {
		c.log.info(fmt.Sprintf("Settings: %v", set), nil)
	}
	// As in cloudflared, an entry with another = in its value is left out, and only two names are blanked.
	seen := map[string]string{}
	for _, entry := range c.settings.environ {
		parts := strings.Split(entry, "=")
		if !strings.Contains(entry, "TUNNEL_") || len(parts) != 2 {
			continue
		}
		if parts[0] == "TUNNEL_TOKEN" || parts[0] == "TUNNEL_CRED_CONTENTS" {
			parts[1] = "*****"
		}
		seen[parts[0]] = parts[1]
	}
	if len(seen) > 0 {
		c.log.info(fmt.Sprintf("Environmental variables %v", seen), nil)
	}
	if !c.settings.given.yes("no-autoupdate") {
		c.log.info("Autoupdate frequency is set", fields{"autoupdateFreq": 24 * time.Hour.Milliseconds()})
	}
}

// checksum tells builds apart, as cloudflared's own line does.
func checksum() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(info.String())).String()
}

func osArch() string { return runtime.GOOS + "_" + runtime.GOARCH }

// prepare does what comes before the metrics server: names in DNS, and every setting that can be wrong.
func (c *connector) prepare(ctx context.Context) error {
	skip := c.features(ctx)
	c.log.info(fmt.Sprintf("Generated Connector ID: %s", c.id), nil)
	if c.settings.fromFile {
		c.log.warn(noIngress, nil)
	}
	var err error
	if c.first, c.mayFallBack, err = c.settings.firstProtocol(c.announced(ctx)); err != nil {
		return err
	}
	c.log.info("Initial protocol "+c.first, nil)
	if _, err := c.settings.edgeTLS("h2.cftunnel.com"); err != nil {
		return err
	}
	if err := c.settings.check(); err != nil {
		return err
	}
	for range 2 {
		c.log.info(fmt.Sprintf("ICMP proxy will use %s as source for IPv4", sourceAddress(ctx)), nil)
		c.log.info("ICMP proxy will use :: as source for IPv6", nil)
	}
	if !skip && !c.settings.given.yes("no-prechecks") {
		go c.precheck(ctx)
	}
	// The management service wants an edge address too, and says the same in the log when there is none.
	_, _ = c.resolveEdge(ctx)
	return nil
}

// sourceAddress is the address that a packet to the edge would leave from.
func sourceAddress(ctx context.Context) netip.Addr {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", "192.168.0.1:53") // sends nothing
	if err != nil {
		return netip.IPv4Unspecified()
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	return localAddress(conn.LocalAddr())
}

// localAddress is the IP of a connection's own end.
func localAddress(a net.Addr) netip.Addr {
	port, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return port.Addr().Unmap()
}

// work serves metrics and the connections, and ends both in order.
func (c *connector) work(ctx context.Context, cancel context.CancelFunc) error {
	listener, err := listenMetrics(ctx, c.settings.given.text("metrics"))
	if err != nil {
		c.log.failure("Error opening metrics server listener", err, nil)
		return fmt.Errorf("Error opening metrics server listener: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.serveMetrics(ctx, listener) })
	done := make(chan error, 1)
	tunnel := make(chan struct{})
	go func() {
		defer close(tunnel)
		done <- c.supervise(ctx)
		c.log.info("Tunnel server stopped", nil)
	}()
	defer func() { <-tunnel }()
	defer cancel()
	select {
	case err := <-done:
		if err != nil || !c.isStopping() {
			c.log.failure("Initiating shutdown", err, nil)
		}
		return err
	case <-c.stopping:
	}
	if c.settings.grace > 0 {
		timer := time.NewTimer(c.settings.grace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				return nil
			}
		}
	}
	return nil
}

// knownPorts is where cloudflared in a container looks for a free metrics port, the last one being any.
func knownPorts() []string {
	return []string{"0.0.0.0:20241", "0.0.0.0:20242", "0.0.0.0:20243", "0.0.0.0:20244", "0.0.0.0:20245", "0.0.0.0:0"}
}

func listenMetrics(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	if address != "" {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("failed to bind to address (%s): %w", address, err)
		}
		return l, nil
	}
	var errs []error
	for _, candidate := range knownPorts() {
		l, err := config.Listen(ctx, "tcp", candidate)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// serveMetrics answers until the context ends.
func (c *connector) serveMetrics(ctx context.Context, l net.Listener) {
	c.log.info(fmt.Sprintf("Starting metrics server on %s/metrics", l.Addr()), nil)
	server := &http.Server{Handler: c.endpoints(ctx), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		_ = server.Close() // ends Serve
	})
	defer wg.Wait()
	if err := server.Serve(l); errors.Is(err, http.ErrServerClosed) {
		c.log.info("Metrics server stopped", nil)
	} else {
		c.log.failure("Metrics server failed", err, nil)
	}
}

// endpoints is what the metrics server knows.
func (c *connector) endpoints(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthcheck", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, []byte("OK\n")) })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		answer(w, http.StatusOK, []byte(c.counts.exposition()))
	})
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		up := len(c.tracker.active())
		status := http.StatusOK
		if up == 0 {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, fmt.Appendf(nil, `{"status":%d,"readyConnections":%d,"connectorId":"%s"}`, status, up, c.id))
	})
	mux.HandleFunc("/quicktunnel", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, []byte(`{"hostname":""}`)) })
	mux.HandleFunc("/config", func(w http.ResponseWriter, _ *http.Request) {
		body, err := c.config.shown()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer(w, http.StatusOK, body)
	})
	mux.HandleFunc("/diag/tunnel", c.collected("tunnelState", func() any {
		return struct {
			Tunnel    string    `json:"tunnelID"`
			Connector string    `json:"connectorID"`
			Up        []tracked `json:"connections,omitempty"`
			Sources   []string  `json:"icmp_sources,omitempty"`
		}{c.settings.token.TunnelID.String(), c.id.String(), c.tracker.active(), []string{sourceAddress(ctx).String(), "::"}}
	}))
	mux.HandleFunc("/diag/configuration", c.collected("configuration", func() any {
		shown := map[string]string{"uid": strconv.Itoa(os.Getuid())}
		for name, value := range c.settings.given.explicit {
			if name != "token" && name != "token-file" {
				shown[name] = value
			}
		}
		return shown
	}))
	return mux
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.WriteHeader(status)
	_, _ = w.Write(body) // the asker has gone
}

// collected logs around an answer, as cloudflared's diagnostics do.
func (c *connector) collected(name string, make func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c.log.info("Collection started", fields{"collector": name})
		if err := json.NewEncoder(w).Encode(make()); err != nil {
			c.log.failure("error occurred whilst serializing information", err, nil)
		}
		c.log.info("Collection finished", fields{"collector": name})
	}
}

package resolver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// transportHTTPS is what queries over HTTPS are counted as.
const transportHTTPS = "https"

// maxQueryBytes is the size of the largest DNS message.
const maxQueryBytes = 65535

// Listeners are the sockets that a resolver serves; TLS gets its certificate
// from TLSConfig.
type Listeners struct {
	UDP       net.PacketConn
	TCP, TLS  net.Listener
	TLSConfig *tls.Config
}

// Serve answers on all listeners until ctx ends.
func (z *Zone) Serve(ctx context.Context, l Listeners) error {
	servers := []*dns.Server{
		{PacketConn: l.UDP, Handler: z.handler("udp")},
		{Listener: l.TCP, Handler: z.handler("tcp")},
		{Listener: tls.NewListener(l.TLS, l.TLSConfig), Handler: z.handler("tls")},
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		failed := make(chan struct{})
		group.Go(func() error {
			defer close(failed)
			if err := s.ActivateAndServe(); err != nil {
				return fmt.Errorf("serve DNS: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			// A server that has not started cannot be shut down.
			select {
			case <-started:
				return s.ShutdownContext(context.WithoutCancel(ctx))
			case <-failed:
				return nil
			}
		})
	}
	return group.Wait()
}

func (z *Zone) handler(transport string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, query *dns.Msg) {
		reply := z.Answer(query, transport)
		if reply == nil {
			return
		}
		if transport == "udp" {
			size := dns.MinMsgSize
			if opt := query.IsEdns0(); opt != nil {
				size = max(size, int(opt.UDPSize()))
			}
			reply.Truncate(size)
		}
		_ = w.WriteMsg(reply) // the client asks again
	}
}

// ServeHTTP answers DNS-over-HTTPS: RFC 8484 by GET and POST, and the JSON form
// that Cloudflare's resolver offers.
func (z *Zone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name := r.URL.Query().Get("name"); name != "" {
		z.serveJSON(w, r, name)
		return
	}
	query, err := readQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply := z.Answer(query, transportHTTPS)
	if reply == nil {
		<-r.Context().Done() // silent, as on the other transports
		return
	}
	data, err := reply.Pack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/dns-message")
	_, _ = w.Write(data) // the client may have left
}

func readQuery(r *http.Request) (*dns.Msg, error) {
	var data []byte
	var err error
	switch r.Method {
	case http.MethodGet:
		data, err = base64.RawURLEncoding.DecodeString(r.URL.Query().Get("dns"))
	case http.MethodPost:
		data, err = io.ReadAll(io.LimitReader(r.Body, maxQueryBytes))
	default:
		err = errors.New("neither GET nor POST")
	}
	if err != nil {
		return nil, fmt.Errorf("read query: %w", err)
	}
	query := new(dns.Msg)
	if err := query.Unpack(data); err != nil {
		return nil, fmt.Errorf("read query: %w", err)
	}
	return query, nil
}

type jsonRecord struct {
	Name string `json:"name"`
	Type uint16 `json:"type"`
	TTL  uint32 `json:"TTL,omitempty"`
	Data string `json:"data,omitempty"`
}

func (z *Zone) serveJSON(w http.ResponseWriter, r *http.Request, name string) {
	qtype, err := queryType(r.URL.Query().Get("type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply := z.Answer(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), transportHTTPS)
	if reply == nil {
		<-r.Context().Done() // silent, as on the other transports
		return
	}
	answer := struct {
		Status   int
		TC       bool
		RD       bool
		RA       bool
		AD       bool
		CD       bool
		Question []jsonRecord
		Answer   []jsonRecord `json:",omitempty"`
	}{Status: reply.Rcode, RD: true, RA: true, Question: []jsonRecord{{Name: name, Type: qtype}}}
	for _, record := range reply.Answer {
		h := record.Header()
		data := record.String()[len(h.String()):]
		answer.Answer = append(answer.Answer, jsonRecord{Name: strings.TrimSuffix(h.Name, "."), Type: h.Rrtype, TTL: h.Ttl, Data: data})
	}
	w.Header().Set("Content-Type", "application/dns-json")
	_ = json.NewEncoder(w).Encode(answer) // the client may have left
}

// queryType reads "A" or "1"; an empty one is A.
func queryType(text string) (uint16, error) {
	if text == "" {
		return dns.TypeA, nil
	}
	if t, ok := dns.StringToType[text]; ok {
		return t, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("read type: %w", err)
	}
	return uint16(n), nil
}

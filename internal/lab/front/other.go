package front

import (
	"net/http"

	"mqtunnel/internal/lab/control"
)

// Elsewhere answers for hosts that no tunnel has published: DNS-over-HTTPS by
// doh, and little for the rest.
func (f *Front) Elsewhere(doh http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stamp(w.Header(), f.Registry.World())
		if r.URL.Path == "/dns-query" {
			doh.ServeHTTP(w, r)
			return
		}
		f.Registry.Count(func(c *control.Counters) { c.PublicRequests++ })
		switch hostname(r.Host) {
		case "api.cloudflare.com", "update.argotunnel.com":
			f.answer(w, "", http.StatusNotFound, "not found")
		default:
			f.fail(w, "", statusCloudflare, errorNoOriginDNS)
		}
	})
}

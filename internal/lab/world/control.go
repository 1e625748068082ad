package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/registry"
)

// maxBodyBytes bounds a request to the control interface.
const maxBodyBytes = 1 << 20

// errBadRequest marks what the caller did wrong.
var errBadRequest = errors.New("bad request")

// controlHandler serves what package control's Client asks for.
func (w *World) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("ok\n")) // the client may have left
	})
	mux.HandleFunc("GET /ca.pem", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = rw.Write(w.CA()) // the client may have left
	})
	mux.HandleFunc("GET /counters", answer(func(*http.Request) (any, error) { return w.registry.Counters(), nil }))
	mux.HandleFunc("PUT /faults", answer(w.putFaults))
	mux.HandleFunc("GET /faults", answer(func(*http.Request) (any, error) { return w.registry.World(), nil }))
	mux.HandleFunc("DELETE /faults", answer(w.deleteFaults))
	mux.HandleFunc("POST /tunnels", answer(w.postTunnel))
	mux.HandleFunc("GET /tunnels/{id}", answer(w.getTunnel))
	mux.HandleFunc("DELETE /tunnels/{id}", answer(w.deleteTunnel))
	mux.HandleFunc("PUT /tunnels/{id}/config", answer(w.putConfig))
	mux.HandleFunc("PUT /tunnels/{id}/faults", answer(w.putTunnelFaults))
	mux.HandleFunc("POST /tunnels/{id}/rotate", answer(w.postRotate))
	mux.HandleFunc("POST /tunnels/{id}/close", answer(w.postClose))
	return mux
}

// answer writes what serve returns as JSON, and nothing for nil.
func answer(serve func(*http.Request) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		out, err := serve(r)
		if err != nil {
			status := http.StatusInternalServerError
			switch {
			case errors.Is(err, registry.ErrNoTunnel):
				status = http.StatusNotFound
			case errors.Is(err, errBadRequest):
				status = http.StatusBadRequest
			}
			http.Error(rw, err.Error(), status)
			return
		}
		if out == nil {
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(out) // the client may have left
	}
}

// read decodes a request's JSON body; a field that nobody knows is an error.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return nil
}

// refused marks an error of the registry as the caller's, unless the tunnel is missing.
func refused(err error) error {
	if err == nil || errors.Is(err, registry.ErrNoTunnel) {
		return err
	}
	return fmt.Errorf("%w: %w", errBadRequest, err)
}

func (w *World) putFaults(r *http.Request) (any, error) {
	var f control.Faults
	if err := read(r, &f); err != nil {
		return nil, err
	}
	if err := w.registry.SetWorld(f); err != nil {
		return nil, refused(err)
	}
	return nil, w.edge.ApplyFaults(r.Context())
}

func (w *World) deleteFaults(r *http.Request) (any, error) {
	w.registry.Clear()
	return nil, w.edge.ApplyFaults(r.Context())
}

func (w *World) putTunnelFaults(r *http.Request) (any, error) {
	var f control.Faults
	if err := read(r, &f); err != nil {
		return nil, err
	}
	return nil, refused(w.registry.SetTunnel(r.PathValue("id"), f))
}

func (w *World) postTunnel(r *http.Request) (any, error) {
	var request control.TunnelRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	credentials, err := w.registry.Create(request)
	return credentials, refused(err)
}

func (w *World) getTunnel(r *http.Request) (any, error) {
	state, err := w.registry.State(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	state.Connectors = w.edge.Connectors(state.TunnelID)
	return state, nil
}

func (w *World) deleteTunnel(r *http.Request) (any, error) {
	id := r.PathValue("id")
	if err := w.registry.Delete(id); err != nil {
		return nil, err
	}
	w.edge.Close(id, control.AllConnections)
	return nil, nil
}

func (w *World) putConfig(r *http.Request) (any, error) {
	var config control.TunnelConfig
	if err := read(r, &config); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	version, err := w.registry.Configure(id, config)
	if err != nil {
		return nil, refused(err)
	}
	result := w.edge.Push(r.Context(), id)
	result.Version = version
	return result, nil
}

func (w *World) postRotate(r *http.Request) (any, error) {
	return w.registry.Rotate(r.PathValue("id"))
}

func (w *World) postClose(r *http.Request) (any, error) {
	id := r.PathValue("id")
	if _, err := w.registry.State(id); err != nil {
		return nil, err
	}
	index := control.AllConnections
	if text := r.URL.Query().Get("index"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%w: index %q is not a connection's", errBadRequest, text)
		}
		index = n
	}
	return control.CloseResult{Closed: w.edge.Close(id, index)}, nil
}

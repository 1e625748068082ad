package mosquitto

import (
	"strings"
	"time"
)

// maxClients bounds how many clients, and how many users, are remembered: twice what
// the listeners of the rendered configuration admit.
const maxClients = 8192

// Client is a connected client.
type Client struct {
	User    string // "" for one without a user
	Address string // host:port as the broker saw it
	Since   time.Time
}

// Clients follows in the log of a broker who is connected. The zero value takes the
// log for that of 2.1. It is not safe for concurrent use.
type Clients struct {
	reader    LogReader
	connected map[string]Client
	seen      map[string]time.Time
	whole     bool
}

// Take goes on by one line and returns what it tells. A client that disconnects has
// the user in its event whom it had connected as.
func (c *Clients) Take(l Line) Event {
	e := c.reader.Event(l)
	switch e.Kind {
	case EventStarting:
		clear(c.connected)
		c.whole = true
	case EventConnected:
		c.connect(e)
	case EventDisconnected:
		e.User = c.disconnect(e)
	case EventOther, EventReloading, EventRefused:
	}
	return e
}

func (c *Clients) connect(e Event) {
	if ownLogin(e) {
		return
	}
	if c.connected == nil {
		c.connected, c.seen = map[string]Client{}, map[string]time.Time{}
	}
	if _, known := c.connected[e.ClientID]; !known && len(c.connected) >= maxClients {
		c.whole = false
		return
	}
	c.connected[e.ClientID] = Client{User: e.User, Address: e.Address, Since: e.Time}
	c.see(e.User, e.Time)
}

// disconnect lets go of a client, and returns its user. A connection that the client
// has left for another one, as 2.1 tells by the address, is not the client's any more.
func (c *Clients) disconnect(e Event) (user string) {
	client, known := c.connected[e.ClientID]
	if !known || e.Address != "" && e.Address != client.Address {
		return ""
	}
	delete(c.connected, e.ClientID)
	c.see(client.User, e.Time)
	return client.User
}

func (c *Clients) see(user string, at time.Time) {
	if _, known := c.seen[user]; user != "" && (known || len(c.seen) < maxClients) {
		c.seen[user] = at
	}
}

// ownLogin reports whether mqtunnel itself logged in, to prove a change: from within
// the broker's container, where no client is. What a header claims, as 2.0 tells it
// of WebSockets, has the port 0.
func ownLogin(e Event) bool {
	return e.ClientID == LoginID && strings.HasPrefix(e.Address, "127.0.0.1:") && !strings.HasSuffix(e.Address, ":0")
}

// LoginID is the client ID of a login that proves a change of users.
const LoginID = "mqtunnel-login"

// Find returns the client that is connected with the client ID.
func (c *Clients) Find(id string) (Client, bool) {
	client, found := c.connected[id]
	return client, found
}

// Whole reports whether the log was read from the broker's start on, so that nobody
// is connected who is not known.
func (c *Clients) Whole() bool { return c.whole }

// Connected returns how many clients of the user are known to be connected.
func (c *Clients) Connected(user string) int {
	n := 0
	for _, client := range c.connected {
		if client.User == user {
			n++
		}
	}
	return n
}

// LastSeen returns when a client of the user last came or went, as far as the log
// told.
func (c *Clients) LastSeen(user string) (time.Time, bool) {
	at, seen := c.seen[user]
	return at, seen
}

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/render"
)

// olderBroker warns of users whose hash the version of the broker leaves out, as far as
// the tag of the image tells it.
func (s *session) olderBroker(d *render.Directory) {
	// The probe's own hash is made anew by whatever renders the project.
	users := slices.DeleteFunc(d.Passwords.OnlyNewer(), func(u string) bool { return u == mosquitto.ProbeUser })
	if len(users) == 0 || !isOlder(s.settings.MosquittoImage) {
		return
	}
	const shown = 5
	who := "user " + users[0] + ", whose hash was"
	if len(users) > 1 {
		who = "users " + strings.Join(users[:min(len(users), shown)], ", ")
		if len(users) > shown {
			who += fmt.Sprintf(" and %d more", len(users)-shown)
		}
		who += ", whose hashes were"
	}
	s.warn(fmt.Sprintf("Mosquitto 2.0 refuses %s made by mosquitto_passwd of 2.1; give a password anew: mqtunnel user passwd %s", who, users[0]))
}

// isOlder reports whether the tag of an image is one of Mosquitto before 2.1.
func isOlder(image string) bool {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false
	}
	tagged, ok := named.(reference.Tagged)
	if !ok {
		return false
	}
	version, _, _ := strings.Cut(tagged.Tag(), "-")
	return mosquitto.Older(version)
}

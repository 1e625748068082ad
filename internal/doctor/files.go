package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// noDirectory is why a check on files has nothing to say.
const noDirectory = "the project directory was not looked at"

// faulty is the fault that an error of our own tells, with its remedy. Further lines
// of the error are evidence.
func faulty(err error) Outcome {
	first, rest, _ := strings.Cut(err.Error(), "\n")
	return Outcome{Status: Failed, Sentence: first}.
		seen(strings.Split(rest, "\n")...).
		do(strings.ReplaceAll(remedy.HintOf(err), "\n", "; "))
}

func judgeEnvFile(e *Evidence) Outcome {
	f := e.Files
	switch {
	case f.Dir == "":
		return unseen(noDirectory)
	case f.EnvErr != nil:
		_, why, _ := strings.Cut(f.EnvErr.Error(), ": ")
		return fault("%s is there and cannot be read: %s", config.EnvName, why).
			seen("in " + f.Dir).
			do(remedy.HintOf(f.EnvErr))
	case !f.EnvMissing:
		return pass("")
	case f.Settings != nil && f.Settings.Token.IsZero():
		return fault("there is no %s in %s, and so no tunnel token", config.EnvName, f.Dir).
			do("make it by storing the token, or go to the directory of the project", "mqtunnel token set")
	default:
		return pass("there is none: the environment has the settings")
	}
}

// othersBits are the permissions that let others than the owner at a file.
const othersBits = 0o077

func judgeEnvPrivate(e *Evidence) Outcome {
	switch mode := e.Files.EnvMode; {
	case mode == 0:
		return unseen("there is no mode to look at")
	case mode&othersBits != 0:
		return fault("other users of this machine can get at the secrets in %s: it has mode %04o", config.EnvName, mode).
			do("", "chmod 600 "+config.EnvName)
	default:
		return pass("")
	}
}

func judgeEnvLines(e *Evidence) Outcome {
	switch {
	case e.Files.Dir == "":
		return unseen(noDirectory)
	case e.Files.LinesErr != nil:
		return faulty(e.Files.LinesErr)
	default:
		return pass("")
	}
}

func judgeEnvCompose(e *Evidence) Outcome {
	if e.Files.Settings == nil {
		return unseen("the settings could not be read")
	}
	differences := e.Files.Dialects
	if len(differences) == 0 {
		return pass("")
	}
	o := fault("%s", differences[0]).do(differences[0].Fix)
	for _, d := range differences[1:] {
		o = o.seen(d.String())
	}
	return o
}

func judgeSettings(e *Evidence) Outcome {
	switch {
	case e.Files.SettingsErr != nil:
		return faulty(e.Files.SettingsErr)
	case e.Files.Settings == nil:
		return unseen("the settings could not be read")
	default:
		return pass("")
	}
}

func judgeEnvironment(e *Evidence) Outcome {
	if e.Files.Settings == nil {
		return unseen("the settings could not be read")
	}
	var keys, seen []string
	harm := ""
	for _, entry := range e.Files.Settings.Overridden() {
		keys = append(keys, entry.Key)
		seen = append(seen, fmt.Sprintf("%s: %s line %d says something else", entry.Key, config.EnvName, entry.FileLine))
		if harm == "" && harms(e, entry.Key) {
			harm = entry.Key
		}
	}
	if len(keys) == 0 {
		return pass("")
	}
	o := warning("the environment sets %s to another value than %s, and wins", strings.Join(keys, ", "), config.EnvName)
	if harm != "" {
		o = fault("the environment sets %s to another value than %s, and what runs was not made with it", harm, config.EnvName)
	}
	return o.seen(seen...).
		do("unset the variable in this shell, or take the line out of "+config.EnvName, "unset "+strings.Join(keys, " "))
}

// harms reports whether what runs differs from the settings because the environment
// sets this one.
func harms(e *Evidence, key string) bool {
	switch key {
	case config.KeyToken:
		held := e.Project.TokenHeld
		return held != nil && !*held || otherTunnel(e) != ""
	case config.KeyProject:
		return e.Project.Observed != nil && len(e.Project.Observed.Containers) == 0 && slices.ContainsFunc(e.Project.All, func(c plan.Container) bool {
			return c.Labels[plan.LabelRole] != "" && c.Labels[plan.LabelWorkingDir] == e.Files.Dir
		})
	default:
		return len(outdated(e)) > 0 && slices.Contains(changedSettings(e.Files), key)
	}
}

func judgeSettingNames(e *Evidence) Outcome {
	s := e.Files.Settings
	if s == nil {
		return unseen("the settings could not be read")
	}
	var found []string
	for _, a := range s.Unknown {
		text := fmt.Sprintf("%s in %s line %d is no setting of mqtunnel and is ignored", a.Key, config.EnvName, a.Line)
		if near := nearest(a.Key); near != "" {
			text += ": is " + near + " meant?"
		}
		found = append(found, text)
	}
	if s.StrayToken > 0 {
		found = append(found, fmt.Sprintf("TUNNEL_TOKEN in %s line %d is not read: the setting is called %s", config.EnvName, s.StrayToken, config.KeyToken))
	}
	if len(found) == 0 {
		return pass("")
	}
	return warning("%s", found[0]).seen(found[1:]...)
}

// nearest returns the setting whose name differs from key by a slip, or "".
func nearest(key string) string {
	const slip = 2 // letters
	best, least := "", slip+1
	for _, s := range config.Table() {
		if d := distance(key, s.Key); d < least {
			best, least = s.Key, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace to make a into b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func judgeUsers(e *Evidence) Outcome {
	o := judgeFile(e, e.Files.UsersErr)
	users := e.Files.NewerHashes
	if o.Status != Passed || len(users) == 0 || e.Project.Status == nil {
		return o
	}
	for _, svc := range e.Project.Status.Services {
		if svc.Service == plan.ServiceBroker && mosquitto.Older(svc.Version) {
			return warning("Mosquitto %s refuses users whose hash was made by mosquitto_passwd of 2.1", svc.Version).
				seen("of them is "+users[0], counted(len(users), "user")+" in all").
				do("give each a password anew", "mqtunnel user passwd "+users[0])
		}
	}
	return o
}

func judgeConfD(e *Evidence) Outcome { return judgeFile(e, e.Files.ConfErr) }

// judgeFile passes what was read without an error.
func judgeFile(e *Evidence, err error) Outcome {
	switch {
	case e.Files.Dir == "":
		return unseen(noDirectory)
	case err != nil:
		return faulty(err)
	default:
		return pass("")
	}
}

func judgeOverride(e *Evidence) Outcome {
	switch {
	case e.Files.OverrideErr != nil:
		return faulty(e.Files.OverrideErr)
	case e.Files.Rendered == nil:
		return unseen("the project could not be rendered")
	default:
		return pass("")
	}
}

// changed puts the changed lines of a difference before what stands around them.
func changed(lines []string) []string {
	isChange := func(l string) bool {
		return strings.HasPrefix(l, "+") && !strings.HasPrefix(l, "+++") || strings.HasPrefix(l, "-") && !strings.HasPrefix(l, "---")
	}
	var first, rest []string
	for _, l := range lines {
		if isChange(l) {
			first = append(first, l)
		} else {
			rest = append(rest, l)
		}
	}
	return append(first, rest...)
}

func judgeComposeFile(e *Evidence) Outcome {
	switch {
	case e.Files.EditedErr != nil:
		o := faulty(e.Files.EditedErr)
		o.Seen = changed(o.Seen)
		return o
	case e.Files.Rendered == nil:
		return unseen("the project could not be rendered")
	default:
		return pass("")
	}
}

func judgeGit(e *Evidence) Outcome {
	if e.Files.Dir == "" {
		return unseen(noDirectory)
	}
	if len(e.Files.GitWarnings) == 0 {
		return pass("")
	}
	return warning("%s", e.Files.GitWarnings[0]).seen(e.Files.GitWarnings[1:]...)
}

func judgeDirectory(e *Evidence) Outcome {
	if e.Project.Observed == nil || e.Files.Dir == "" {
		return unseen("the project's containers were not seen")
	}
	dir, elsewhere := elsewhere(e)
	if !elsewhere {
		return pass("")
	}
	return fault("the project %s that runs belongs to the directory %q, not to this one", e.Project.Name, dir).
		seen("this directory: " + e.Files.Dir).
		do("go to that directory; or give this project another name with -p NAME; or take that one over: mqtunnel up --adopt")
}

// elsewhere returns the other directory that the project's containers belong to.
func elsewhere(e *Evidence) (string, bool) {
	return plan.Elsewhere(plan.Project{Dir: e.Files.Dir}, *e.Project.Observed)
}

func judgeInForce(e *Evidence) Outcome {
	if e.Project.Plan == nil || e.Project.Observed == nil {
		return unseen("the containers were not compared with the files")
	}
	if len(e.Project.Observed.Containers) == 0 {
		return unseen("the project is down")
	}
	old := outdated(e)
	if len(old) == 0 {
		return pass("")
	}
	var seen []string
	cause := "broker-users"
	for _, s := range old {
		seen = append(seen, s.service+": "+s.why)
		if !s.users {
			cause = "environment"
		}
	}
	// What up would stop at comes first.
	switch {
	case e.Files.ConfErr != nil:
		cause = "conf-d"
	case judgeLanAddress(e).Status == Failed:
		cause = "lan-address"
	}
	return fault("%s", newer(e.Files, old)).
		seen(seen...).seen(e.Files.Changes...).
		because(cause).
		do("", "mqtunnel up")
}

// outdatedService is a service that runs with something else than the files say;
// users tells that it is the files of the broker's users alone.
type outdatedService struct {
	service, why string
	users        bool
}

// outdated lists the services whose containers were made from something else than
// the files say now. Those that stopped, are missing or are detached have checks of
// their own, and so have a connector of another tunnel and a token that is none.
func outdated(e *Evidence) []outdatedService {
	if e.Project.Plan == nil || e.Project.Observed == nil {
		return nil
	}
	if _, away := elsewhere(e); away {
		return nil
	}
	var list []outdatedService
	for _, step := range e.Project.Plan.Steps {
		content := step.Op == plan.Reload ||
			step.Op == plan.CreateContainer && slices.Contains([]string{plan.WhyToken, plan.WhyConfiguration, plan.WhyImage}, step.Why)
		if content && (step.Subject != plan.ServiceConnector || otherTunnel(e) == "" && e.Files.TokenErr == nil) {
			list = append(list, outdatedService{step.Subject, step.Why, step.Op == plan.Reload})
		}
	}
	return list
}

// newer says what is newer than what runs, by its setting where that can be told.
func newer(f FilesEvidence, old []outdatedService) string {
	if slices.ContainsFunc(old, func(s outdatedService) bool { return s.why == plan.WhyToken }) {
		return "the tunnel token is newer than the one that the connector runs with"
	}
	if keys := changedSettings(f); len(keys) > 0 {
		return fmt.Sprintf("%s was changed since mqtunnel up: what runs has another value", strings.Join(keys, ", "))
	}
	return fmt.Sprintf("%s runs with something older than the files: %s", old[0].service, old[0].why)
}

// changedSettings returns the settings that show in how compose.yaml would change.
func changedSettings(f FilesEvidence) []string {
	if f.Settings == nil {
		return nil
	}
	var keys []string
	for _, mark := range []struct{ key, text string }{
		{config.KeyMosquittoImage, f.Settings.MosquittoImage},
		{config.KeyCloudflaredImage, f.Settings.CloudflaredImage},
		{config.KeyAllowAnonymous, "allow_anonymous "},
		{config.KeyLANListen, ":" + mosquitto.PortMQTT + `"`},
		{config.KeySaveInterval, "autosave_"},
		{config.KeyProtocol, config.KeyProtocol},
		{config.KeyEdgeIPVersion, config.KeyEdgeIPVersion},
		{config.KeyLogLevel, config.KeyLogLevel},
		{config.KeyGracePeriod, config.KeyGracePeriod},
	} {
		if slices.ContainsFunc(f.Changes, func(line string) bool { return strings.Contains(line, mark.text) }) {
			keys = append(keys, mark.key)
		}
	}
	return keys
}

// gatherFiles reads the project directory.
func gatherFiles(ctx context.Context, s Sources, e *Evidence) {
	f := &e.Files
	f.Dir = s.Dir
	if dir, err := filepath.Abs(s.Dir); err == nil {
		f.Dir = dir
	}
	environ := variables(s.Environ)
	text := gatherSettings(s, environ, f)
	d, faults := render.Examine(f.Dir)
	f.UsersErr, f.ConfErr, f.EditedErr = faults.Users, faults.Conf, faults.Compose
	f.Added = len(d.Conf) > 0
	if d.Passwords != nil {
		// The probe's own hash is made anew by whatever renders the project.
		f.NewerHashes = slices.DeleteFunc(d.Passwords.OnlyNewer(), func(u string) bool { return u == mosquitto.ProbeUser })
	}
	if exposure, err := render.CheckGit(f.Dir); err == nil {
		f.GitWarnings = exposure.Warnings()
	}
	if f.Settings == nil || f.UsersErr != nil || f.ConfErr != nil {
		return
	}
	vars, err := render.Variables(*f.Settings, environ, text)
	if err != nil {
		return // what Compose cannot read is among the dialects
	}
	gatherRendered(ctx, d, vars, f)
}

// variables indexes KEY=VALUE pairs.
func variables(environ []string) map[string]string {
	vars := map[string]string{}
	for _, pair := range environ {
		if key, value, ok := strings.Cut(pair, "="); ok {
			vars[key] = value
		}
	}
	return vars
}

// gatherSettings reads .env and returns its text, and the settings.
func gatherSettings(s Sources, environ map[string]string, f *FilesEvidence) []byte {
	file, found, err := config.EnvText(f.Dir)
	if err != nil {
		f.EnvErr = err
		return nil
	}
	f.EnvMissing = !found
	if runtime.GOOS != "windows" { // where the bits say nothing
		f.EnvMode = file.Mode
	}
	if _, err := config.ParseEnv(file.Data); err != nil {
		f.LinesErr = err
		return nil
	}
	settings, err := config.Load(f.Dir, s.Environ)
	if err == nil && s.Project != "" {
		settings, err = settings.WithProject(s.Project)
	}
	if err != nil {
		f.SettingsErr = err
		return nil
	}
	f.Settings = &settings
	token, err := settings.ParseToken()
	if err != nil {
		f.TokenErr = err
	} else {
		f.Token = &token
	}
	var keys []string
	for _, entry := range settings.Entries {
		keys = append(keys, entry.Key)
	}
	f.Dialects = render.Dialects(file.Data, keys, environ)
	return file.Data
}

// gatherRendered renders the project and compares it with what was written.
func gatherRendered(ctx context.Context, d *render.Directory, vars map[string]string, f *FilesEvidence) {
	settings := *f.Settings
	// Before the first up there is no account of the probe, and no other may be.
	if settings.ProbePassword.IsZero() && !d.Passwords.Has(mosquitto.ProbeUser) {
		settings.ProbePassword = mosquitto.NewPassword()
	}
	r, err := d.Render(ctx, settings, vars, false, rand.Text)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.OverrideErr = err
		return
	}
	f.Rendered = &r
	f.OverrideErr = lifecycle.CheckSecrets(r.Project, map[string]secret.Text{
		"tunnel token": settings.Token, "probe's password": settings.ProbePassword, "Access secret": settings.AccessSecret,
	})
	if f.EditedErr == nil {
		f.EditedErr = d.CheckEdited(r)
	}
	f.Changes = d.Changes(r)
	if d.Existing == nil {
		f.Changes = []string{render.FileName + " does not exist"}
	}
}

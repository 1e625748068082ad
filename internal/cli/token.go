package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

func (a *App) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Store, show and check the tunnel token",
		RunE:  group,
	}
	cmd.AddCommand(a.tokenSetCommand(), a.tokenShowCommand(), a.tokenCheckCommand(), a.tokenRemoveCommand())
	return cmd
}

func (a *App) tokenSetCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Store the tunnel token in .env",
		Long: `Store the tunnel token in .env. It is read from a hidden prompt, from standard
input, or from a file, never from an argument. Paste what the Cloudflare
dashboard shows: the token alone or the whole command line that contains it.`,
		Example: `  mqtunnel token set
  mqtunnel token set < token.txt
  mqtunnel token set --from-file token.txt`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			text, err := a.readToken(cmd.Context(), file)
			if err != nil {
				return err
			}
			token, err := cloudflared.FindToken(text.Reveal()) // decoding needs the text
			if err != nil {
				return err
			}
			return a.storeToken(cmd.Context(), dir, token)
		},
	}
	cmd.Flags().StringVar(&file, "from-file", "", "read the token from `FILE`")
	return cmd
}

// readToken reads what was pasted, from a file, a prompt or standard input.
func (a *App) readToken(ctx context.Context, file string) (secret.Text, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return secret.Text{}, remedy.Errorf(remedy.Input, "name the file that holds the token", "read the token: %w", err)
		}
		defer f.Close() //nolint:errcheck // nothing was written
		return wrapToken(readAll(f))
	}
	if a.typed() {
		return a.askHidden(ctx, "Tunnel token (paste it, it is not shown): ", cloudflared.Complete)
	}
	return wrapToken(readAll(a.In))
}

func wrapToken(text secret.Text, err error) (secret.Text, error) {
	if err != nil {
		return text, remedy.Errorf(remedy.Input, "", "read the token: %w", err)
	}
	return text, nil
}

// storeToken writes the token into .env under the project's lock, and the
// Compose file again if there is one, so that any tool recreates the connector.
func (a *App) storeToken(ctx context.Context, dir string, token cloudflared.Token) error {
	s, err := a.session(dir)
	if err != nil {
		return err
	}
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()

	if err := s.editEnv(func(env *config.EnvFile) error { return env.Set(config.KeyToken, token.Secret()) }); err != nil {
		return err
	}
	changed := s.env.Changed()
	var again *render.Rendered
	if changed && s.rendered() {
		d, r, err := s.render(ctx, true)
		if err != nil {
			return err
		}
		if err := d.CheckEdited(r); err != nil {
			return err
		}
		again = &r
	}
	if err := s.store(again); err != nil {
		return err
	}
	verb := "unchanged"
	if changed {
		verb = "stored in .env"
	}
	a.say("token %s: tunnel %s, account %s", verb, token.TunnelID, display.Safe(token.AccountTag))
	if e := s.settings.Entry(config.KeyToken); e.Overridden {
		s.warn(fmt.Sprintf("the environment sets %s to another value, which wins over .env; type: unset %s", config.KeyToken, config.KeyToken))
	}
	if !a.flags.quiet {
		a.command("next: ", a.again("mqtunnel up"))
	}
	return nil
}

type tokenJSON struct {
	Schema     int    `json:"schema"`
	TunnelID   string `json:"tunnelId"`
	AccountTag string `json:"accountTag"`
	Endpoint   string `json:"endpoint,omitempty"`
	Source     string `json:"source"`
	Overridden bool   `json:"overridden"`
}

func tokenOf(token cloudflared.Token, source config.Entry) tokenJSON {
	return tokenJSON{
		Schema: schema, TunnelID: token.TunnelID, AccountTag: token.AccountTag, Endpoint: token.Endpoint,
		Source: source.Source.String(), Overridden: source.Overridden,
	}
}

func (a *App) tokenShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show which tunnel the token belongs to, never the token",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			token, source, err := a.currentToken()
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.Out, tokenOf(token, source))
			}
			fmt.Fprintf(a.Out, "tunnel   %s\naccount  %s\n", token.TunnelID, display.Safe(token.AccountTag))
			if token.Endpoint != "" {
				fmt.Fprintf(a.Out, "endpoint %s\n", display.Safe(token.Endpoint))
			}
			fmt.Fprintf(a.Out, "source   %s\n", source.Source)
			if source.Overridden {
				fmt.Fprintf(a.Out, "note     .env line %d holds another one, which the environment overrides\n", source.FileLine)
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *App) tokenCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell whether the token is a valid one, offline",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			token, source, err := a.currentToken()
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.Out, tokenOf(token, source))
			}
			a.say("ok: a valid token for tunnel %s, from %s", token.TunnelID, source.Source)
			if !a.flags.quiet {
				a.say("%s", a.again("note: whether Cloudflare still accepts it shows when the connector starts: mqtunnel up"))
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// currentToken returns the token in use and where it comes from.
func (a *App) currentToken() (cloudflared.Token, config.Entry, error) {
	s, err := a.here()
	if err != nil {
		return cloudflared.Token{}, config.Entry{}, err
	}
	token, err := s.settings.ParseToken()
	return token, s.settings.Entry(config.KeyToken), err
}

func (a *App) tokenRemoveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Remove the tunnel token from .env",
		Long: `Remove the tunnel token from .env. A connector that runs keeps its own copy
until mqtunnel down; to make the token worthless, refresh it in the Cloudflare
dashboard.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.here()
			if err != nil {
				return err
			}
			if err := a.confirm(cmd.Context(), "The tunnel token is removed from .env.", yes); err != nil {
				return err
			}
			release, err := s.lock(cmd.Context())
			if err != nil {
				return err
			}
			defer release()
			found := false
			err = s.editEnv(func(env *config.EnvFile) (err error) {
				found, err = env.Unset(config.KeyToken)
				return err
			})
			if err == nil {
				err = s.store(nil)
			}
			if err != nil {
				return err
			}
			if !found {
				fmt.Fprintln(a.Out, "there was no token in .env")
				return nil
			}
			fmt.Fprintln(a.Out, "token removed from .env")
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// noToken reports whether an error says that there is no token at all.
func noToken(err error) bool { return errors.Is(err, cloudflared.ErrTokenEmpty) }

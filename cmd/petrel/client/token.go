package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/controlplane/pki"
)

// DefaultTokenLife is how long a token can be joined with, as in kubeadm.
const DefaultTokenLife = 24 * time.Hour

func newTokenCommand(streams Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and delete the tokens by which machines join",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreateCommand(streams), newTokenListCommand(streams), newTokenDeleteCommand(streams))
	return cmd
}

// tokenOptions are the flags of petrel token create.
type tokenOptions struct {
	options
	life        time.Duration
	description string
}

func newTokenCreateCommand(streams Streams) *cobra.Command {
	o := &tokenOptions{options: options{Streams: streams}}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token by which machines join",
		Long: `Make a token by which machines join. It carries the hash of the cluster's certificate authority, so that a machine
knows the cluster before it tells it the secret. It is a bootstrap token of Kubernetes, a Secret in kube-system, and is
good for nothing but joining.`,
		Example: "  petrel token create --kubeconfig /var/lib/petrel/admin.kubeconfig --ttl 1h\n  petrel worker --server https://10.0.0.1:6443 --token TOKEN",
		Args:    usage(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.create(cmd.Context()) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.DurationVar(&o.life, "ttl", DefaultTokenLife, "how long machines can join with it; 0: for ever")
	f.StringVar(&o.description, "description", "", "what it is for")
	return cmd
}

// createdToken is the answer in JSON.
type createdToken struct {
	ID      string    `json:"id"`
	Token   string    `json:"token"`
	Server  string    `json:"server"`
	Expires time.Time `json:"expires,omitzero"`
}

func (o *tokenOptions) create(ctx context.Context) error {
	if o.life < 0 {
		return usageError{errors.New("--ttl must not be negative")}
	}
	data, err := o.credentials.authority()
	if err != nil {
		return usageError{err}
	}
	hash, err := pki.HashOf(data)
	if err != nil {
		return err
	}
	client, err := o.kubernetes()
	if err != nil {
		return err
	}
	bootstrap, err := jointoken.New()
	if err != nil {
		return err
	}
	var expires time.Time
	if o.life > 0 {
		expires = time.Now().Add(o.life).Truncate(time.Second)
	}
	secret := join.TokenSecret(bootstrap, expires, o.description)
	if _, err := client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("store token: %w", err)
	}
	token := jointoken.Token{CAHash: hash, Bootstrap: bootstrap}
	if o.json() {
		return printJSON(o.Out, createdToken{ID: bootstrap.ID, Token: token.String(), Server: o.server, Expires: expires})
	}
	until := "for ever"
	if !expires.IsZero() {
		until = "until " + expires.Local().Format(time.RFC3339)
	}
	// The secret is on standard output alone: what goes to standard error ends up in logs.
	fmt.Fprintf(o.Err, "good %s: petrel worker --server %s --token TOKEN\n", until, o.server)
	_, err = fmt.Fprintln(o.Out, token)
	return err
}

func newTokenListCommand(streams Streams) *cobra.Command {
	o := &options{Streams: streams}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"},
		Short: "List the tokens, without their secrets",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.listTokens(cmd.Context()) },
	}
	o.add(cmd)
	return cmd
}

func (o *options) listTokens(ctx context.Context) error {
	client, err := o.kubernetes()
	if err != nil {
		return err
	}
	tokens, err := readTokens(ctx, client)
	if err != nil {
		return err
	}
	if o.json() {
		return printJSON(o.Out, tokens)
	}
	w := tabwriter.NewWriter(o.Out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tLEFT\tEXPIRES\tUSAGES\tDESCRIPTION")
	for _, t := range tokens {
		left, expires := "for ever", "-"
		if !t.Expires.IsZero() {
			expires = t.Expires.Local().Format(time.RFC3339)
			if left = "expired"; time.Until(t.Expires) > 0 {
				left = time.Until(t.Expires).Round(time.Second).String()
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, left, expires, strings.Join(t.Usages, ","), t.Description)
	}
	return w.Flush()
}

// readTokens lists the tokens, the first to end first. Secrets that claim to be tokens and are none are left out.
func readTokens(ctx context.Context, client kubernetes.Interface) ([]join.Token, error) {
	secrets, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{FieldSelector: "type=" + string(join.TokenType)})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	tokens := []join.Token{}
	for i := range secrets.Items {
		if t, err := join.ReadToken(&secrets.Items[i]); err == nil {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b join.Token) int {
		if a.Expires.IsZero() != b.Expires.IsZero() {
			return map[bool]int{true: 1, false: -1}[a.Expires.IsZero()]
		}
		return a.Expires.Compare(b.Expires)
	})
	return tokens, nil
}

func newTokenDeleteCommand(streams Streams) *cobra.Command {
	o := &options{Streams: streams}
	cmd := &cobra.Command{
		Use: "delete ID...", Aliases: []string{"rm"},
		Short: "Delete tokens; nodes that have joined with them stay",
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE:  func(cmd *cobra.Command, args []string) error { return o.deleteTokens(cmd.Context(), args) },
	}
	o.add(cmd)
	return cmd
}

func (o *options) deleteTokens(ctx context.Context, args []string) error {
	client, err := o.kubernetes()
	if err != nil {
		return err
	}
	for n, arg := range args {
		id := arg
		if token, err := jointoken.Parse(arg); err == nil {
			id = token.ID // the whole token was given
		}
		if !jointoken.ValidID(id) {
			// It may be a mistyped token: it is not repeated.
			return usageError{fmt.Errorf("argument %d is no token's ID: six characters of a-z and 0-9; `petrel token list` lists them", n+1)}
		}
		err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, join.TokenNamePrefix+id, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("token %s is not there: `petrel token list` lists those that are: %w", id, err)
		}
		if err != nil {
			return fmt.Errorf("delete token %s: %w", id, err)
		}
		if o.json() {
			err = printJSON(o.Out, map[string]string{"id": id, "deleted": "true"})
		} else {
			_, err = fmt.Fprintf(o.Out, "token %s deleted\n", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

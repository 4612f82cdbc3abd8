package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
)

const (
	// contextName is cluster, user and context of the kubeconfig.
	contextName = "petrel"
	// DefaultLoginLife is how long a client certificate in a kubeconfig lasts, as in Kubernetes' distributions.
	DefaultLoginLife = 365 * 24 * time.Hour
	// TLSDir is where a control plane keeps its authorities, below its data directory.
	TLSDir = "tls"
)

// kubeconfigOptions are the flags of petrel kubeconfig.
type kubeconfigOptions struct {
	options
	dataDir string
	user    string
	groups  []string
	life    time.Duration
}

func newKubeconfigCommand(streams Streams) *cobra.Command {
	o := &kubeconfigOptions{options: options{Streams: streams}}
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print a kubeconfig for kubectl and other Kubernetes clients",
		Long: `Print a kubeconfig. For an API on loopback, which asks for no credentials, it names the server and nothing more.

With --data-dir, on the machine of a control plane that speaks TLS, it holds the cluster's certificate authority and a
client certificate that is made for it: an administrator's, or that of --user and --group. Whoever has the file is that
user until the certificate ends: keep it as you keep a key.`,
		Example: "  petrel kubeconfig > petrel.yaml\n  KUBECONFIG=petrel.yaml kubectl get pods\n\n" +
			"  sudo petrel kubeconfig --data-dir /var/lib/petrel --server https://10.0.0.1:6443 > admin.yaml",
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "data directory of the control plane whose authority signs a client certificate")
	f.StringVar(&o.user, "user", auth.AdminName, "with --data-dir: who the certificate is for")
	f.StringSliceVar(&o.groups, "group", []string{auth.GroupMasters}, "with --data-dir: groups of the user (may be repeated)")
	f.DurationVar(&o.life, "duration", DefaultLoginLife, "with --data-dir: how long the certificate lasts")
	return cmd
}

func (o *kubeconfigOptions) run(ctx context.Context) error {
	login := Login{Server: o.server, Namespace: o.namespace}
	if o.dataDir != "" {
		if err := o.sign(ctx, &login); err != nil {
			return err
		}
	}
	config := Kubeconfig(login)
	var raw []byte
	var err error
	if o.json() {
		if raw, err = json.MarshalIndent(config, "", "  "); err == nil {
			raw = append(raw, '\n')
		}
	} else {
		raw, err = yaml.Marshal(config)
	}
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	_, err = o.Out.Write(raw)
	return err
}

// sign makes a client certificate with the control plane's authority.
func (o *kubeconfigOptions) sign(ctx context.Context, login *Login) error {
	dir := filepath.Join(o.dataDir, TLSDir)
	if _, err := os.Stat(filepath.Join(dir, pki.ClusterCA+".key")); err != nil {
		return usageError{fmt.Errorf("--data-dir %s holds no certificate authority that this user can read: is it the directory of a control plane that speaks TLS? (%w)", o.dataDir, err)}
	}
	if !o.serverGiven {
		server, err := publishedServer(o.dataDir)
		if err != nil {
			return usageError{err}
		}
		login.Server = server
	}
	now := time.Now()
	authority, err := pki.Open(ctx, pki.Dir(dir), pki.ClusterCA, contextName, now)
	if err != nil {
		return err
	}
	return login.Sign(authority, o.user, o.groups, o.life, now)
}

// Sign gives the login a client certificate.
func (l *Login) Sign(authority *pki.Authority, user string, groups []string, life time.Duration, now time.Time) error {
	issued, err := authority.Issue(pki.Request{CommonName: user, Organization: groups, Usage: pki.Client, Life: life}, now)
	if err != nil {
		return err
	}
	l.CA, l.Certificate, l.Key = authority.PEM(), issued.Certificate, issued.Key
	return nil
}

// publishedServer is where the control plane of a data directory says it is.
func publishedServer(dataDir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dataDir, "petrel.json"))
	if err != nil {
		return "", fmt.Errorf("name the API with --server: %w", err)
	}
	var where struct {
		API string `json:"api"`
	}
	if err := json.Unmarshal(data, &where); err != nil || where.API == "" {
		return "", errors.New("name the API with --server: petrel.json does not say where it is")
	}
	return where.API, nil
}

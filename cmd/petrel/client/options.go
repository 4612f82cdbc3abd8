package client

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// DefaultServer is where petrel up listens.
const DefaultServer = "http://127.0.0.1:8080"

// EnvServer names the server for every command.
const EnvServer = "PETREL_SERVER"

// options are the flags that every command of this package has.
type options struct {
	Streams
	server    string
	namespace string
	output    string
	outputs   []string // that there are beside text and json
	showHTTP  bool
	// kubeconfig is where the server and credentials for it stand; empty: none are needed.
	kubeconfig  string
	credentials *credentials
	serverGiven bool
}

// add adds the flags.
func (o *options) add(cmd *cobra.Command) {
	server := os.Getenv(EnvServer)
	fromEnvironment := server != ""
	if !fromEnvironment {
		server = DefaultServer
	}
	f := cmd.Flags()
	f.StringVar(&o.server, "server", server, "URL of the control plane (environment: "+EnvServer+")")
	f.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv(EnvKubeconfig), "kubeconfig that names the control plane and has credentials for it (environment: "+EnvKubeconfig+")")
	f.StringVarP(&o.output, "output", "o", "text", strings.Join(o.formats(), ", "))
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace")
	f.BoolVar(&o.showHTTP, "show-http", false, "print each request as a curl command")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.serverGiven = fromEnvironment || cmd.Flags().Changed("server")
		err := o.login(cmd.Flags().Changed("namespace"))
		if err == nil {
			err = o.validate()
		}
		if err == nil {
			err = run(cmd, args)
		}
		if err != nil && o.output == "json" {
			return inJSON{err}
		}
		return err
	}
}

func (o *options) validate() error {
	if !slices.Contains(o.formats(), o.output) {
		return usageError{fmt.Errorf("--output %s is none of %s", o.output, strings.Join(o.formats(), ", "))}
	}
	if !strings.Contains(o.server, "://") {
		o.server = "http://" + o.server
	}
	server, err := serverOf(o.server)
	if err != nil {
		return err
	}
	o.server = server
	if o.credentials != nil && !strings.HasPrefix(o.server, "https://") && o.credentials.secret() {
		return usageError{fmt.Errorf("--server %s is in the clear: the kubeconfig's credentials are not sent there", o.server)}
	}
	return nil
}

// login takes the server, the namespace and the credentials of the kubeconfig; what is given beside it comes first.
func (o *options) login(namespaceGiven bool) error {
	if o.kubeconfig == "" {
		return nil
	}
	c, namespace, err := loadCredentials(o.kubeconfig)
	if err != nil {
		return err
	}
	o.credentials = c
	if !o.serverGiven {
		o.server = c.config.Host
	}
	if !namespaceGiven && namespace != "" {
		o.namespace = namespace
	}
	return nil
}

// roundTripper is the way to the server.
func (o *options) roundTripper() http.RoundTripper {
	if o.credentials != nil {
		return o.credentials.transport
	}
	return transport
}

// formats are the words that --output takes.
func (o *options) formats() []string { return append([]string{"text", "json"}, o.outputs...) }

func (o *options) json() bool { return o.output == "json" }

// host is the server's host and port, as image references name it.
func (o *options) host() string {
	u, err := url.Parse(o.server)
	if err != nil {
		return ""
	}
	return u.Host
}

// kubernetes makes a client for pods and their logs.
func (o *options) kubernetes() (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: o.server, Transport: o.roundTripper(), QPS: -1, UserAgent: userAgent,
		ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"},
	})
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", o.server, err)
	}
	return client, nil
}

package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api/v1"
)

// EnvKubeconfig names the kubeconfig for every command.
const EnvKubeconfig = "PETREL_KUBECONFIG"

// credentials are what a kubeconfig says of a server and of how to speak to it.
type credentials struct {
	config    *rest.Config
	transport http.RoundTripper
}

// loadCredentials reads a kubeconfig's current context.
func loadCredentials(path string) (c *credentials, namespace string, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, "", usageError{fmt.Errorf("read kubeconfig: %w", err)}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, &clientcmd.ConfigOverrides{})
	c = &credentials{}
	if c.config, err = loader.ClientConfig(); err != nil {
		// The cause may quote the file, which holds a key.
		return nil, "", usageError{fmt.Errorf("read kubeconfig %s: it has no usable context: `petrel kubeconfig` writes one", path)}
	}
	if c.transport, err = rest.TransportFor(c.config); err != nil {
		return nil, "", usageError{fmt.Errorf("read kubeconfig %s: its certificate, key or authority cannot be used", path)}
	}
	namespace, _, err = loader.Namespace()
	if err != nil {
		return nil, "", usageError{fmt.Errorf("read kubeconfig %s: %w", path, err)}
	}
	return c, namespace, nil
}

// authority is the certificate of the cluster's authority that the kubeconfig names.
func (c *credentials) authority() ([]byte, error) {
	if c == nil || len(c.config.CAData) == 0 && c.config.CAFile == "" {
		return nil, errors.New("the kubeconfig names no certificate authority: joining takes a control plane that speaks TLS, and its kubeconfig (admin.kubeconfig in its data directory, or `petrel kubeconfig --data-dir`), given with --kubeconfig")
	}
	if len(c.config.CAData) > 0 {
		return c.config.CAData, nil
	}
	data, err := os.ReadFile(c.config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	return data, nil
}

// secret tells whether there is something that must not be sent in the clear.
func (c *credentials) secret() bool {
	return c.config.BearerToken != "" || c.config.BearerTokenFile != "" || c.config.Password != "" || c.config.ExecProvider != nil || c.config.AuthProvider != nil
}

// Login is what a kubeconfig says.
type Login struct {
	Server    string
	Namespace string
	// CA, Certificate and Key are PEM; all are empty for an API without credentials.
	CA, Certificate, Key []byte
}

// Kubeconfig is the kubeconfig of a login.
func Kubeconfig(l Login) clientcmdapi.Config {
	return clientcmdapi.Config{
		Kind: "Config", APIVersion: "v1", CurrentContext: contextName,
		Clusters: []clientcmdapi.NamedCluster{{Name: contextName, Cluster: clientcmdapi.Cluster{
			Server: l.Server, CertificateAuthorityData: l.CA,
		}}},
		Contexts: []clientcmdapi.NamedContext{{Name: contextName, Context: clientcmdapi.Context{
			Cluster: contextName, AuthInfo: contextName, Namespace: l.Namespace,
		}}},
		// Without credentials (an API on loopback, which asks nobody) clients want the entry all the same.
		AuthInfos: []clientcmdapi.NamedAuthInfo{{Name: contextName, AuthInfo: clientcmdapi.AuthInfo{
			ClientCertificateData: l.Certificate, ClientKeyData: l.Key,
		}}},
	}
}

// serverOf is a URL without what does not belong there.
func serverOf(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usageError{fmt.Errorf("--server %s is no URL such as %s", text, DefaultServer)}
	}
	return u.Scheme + "://" + u.Host, nil
}

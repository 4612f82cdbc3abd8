package client

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// contextName is cluster, user and context of the kubeconfig.
const contextName = "petrel"

func newKubeconfigCommand(streams Streams) *cobra.Command {
	o := &options{Streams: streams}
	cmd := &cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print a kubeconfig for kubectl and other Kubernetes clients",
		Example: "  petrel kubeconfig > petrel.yaml\n  KUBECONFIG=petrel.yaml kubectl get pods",
		Args:    usage(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return o.kubeconfig() },
	}
	o.add(cmd)
	return cmd
}

func (o *options) kubeconfig() error {
	config := clientcmdapi.Config{
		Kind: "Config", APIVersion: "v1", CurrentContext: contextName,
		Clusters: []clientcmdapi.NamedCluster{{Name: contextName, Cluster: clientcmdapi.Cluster{Server: o.server}}},
		Contexts: []clientcmdapi.NamedContext{{Name: contextName, Context: clientcmdapi.Context{
			Cluster: contextName, AuthInfo: contextName, Namespace: o.namespace,
		}}},
		// There is no user yet: the API listens on loopback and asks nobody. Clients want the entry all the same.
		AuthInfos: []clientcmdapi.NamedAuthInfo{{Name: contextName}},
	}
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

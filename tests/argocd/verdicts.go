package main

// Judges objects as others do, with their own code, and compares.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/discovery"
	fake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubectl/pkg/cmd/wait"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// Verdicts of one object.
type Verdicts struct {
	// `kubectl wait --for=condition=Ready`: met or waits.
	Kubectl string `json:"kubectl"`
	// Helm 4's `--wait`: done, waits or fails.
	Helm string `json:"helm"`
	// kstatus, and so Flux: Current, InProgress, Failed or Terminating.
	Kstatus string `json:"kstatus"`
	// Argo CD: Healthy, Suspended, Progressing or Degraded.
	Argo string `json:"argo"`
}

type situation struct {
	Name   string         `json:"name"`
	Expect Verdicts       `json:"expect"`
	Object map[string]any `json:"object"`
}

func judgeAll(customizations, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var situations []situation
	if err := yaml.UnmarshalStrict(text, &situations); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	wrong := 0
	for _, situation := range situations {
		said, message, err := judge(customizations, situation.Object)
		if err == nil && said != situation.Expect {
			err = fmt.Errorf("%+v instead of %+v", said, situation.Expect)
		}
		if err == nil {
			err = agree(said)
		}
		if err != nil {
			wrong++
			fmt.Printf("%s: %v (%s)\n", situation.Name, err, message)
			continue
		}
		fmt.Printf("%-45s kubectl %-6s helm %-6s kstatus %-12s argo %-12s %s\n", situation.Name, said.Kubectl, said.Helm, said.Kstatus, said.Argo, message)
	}
	fmt.Printf("%d of %d situations: kubectl wait, Helm 4, kstatus and Argo CD agree\n", len(situations)-wrong, len(situations))
	if wrong > 0 {
		return fmt.Errorf("%d situations are judged otherwise", wrong)
	}
	return nil
}

// What agreement is: whoever waits, waits for the same. What is being deleted is the one thing in which kubectl differs: it looks at the condition only.
func agree(said Verdicts) error {
	healthy := said.Argo == "Healthy" || said.Argo == "Suspended"
	good := false
	switch said.Kstatus {
	case "Current":
		good = said.Kubectl == "met" && said.Helm == "done" && healthy
	case "InProgress":
		good = said.Kubectl == "waits" && said.Helm == "waits" && !healthy
	case "Failed":
		good = said.Kubectl == "waits" && said.Helm == "fails" && said.Argo == "Degraded"
	case "Terminating":
		good = said.Helm == "waits" && said.Argo == "Progressing"
	}
	if !good {
		return fmt.Errorf("they disagree: %+v", said)
	}
	return nil
}

func judge(customizations string, value map[string]any) (Verdicts, string, error) {
	// as it comes from an API server: whole numbers are int64
	object := &unstructured.Unstructured{}
	text, err := json.Marshal(value)
	if err == nil {
		err = object.UnmarshalJSON(text)
	}
	if err != nil {
		return Verdicts{}, "", err
	}
	said, message, fails := Verdicts{}, "", []error{}
	said.Kubectl, err = kubectl(object)
	fails = append(fails, err)
	said.Helm, err = helm(object)
	fails = append(fails, err)
	result, err := status.Compute(object)
	if fails = append(fails, err); err == nil {
		said.Kstatus = result.Status.String()
	}
	said.Argo, message, err = argo(customizations, object)
	fails = append(fails, err)
	return said, message, errors.Join(fails...)
}

// kubectl's own condition function, once, on a client that holds the one object.
func kubectl(object *unstructured.Unstructured) (string, error) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	flags := wait.NewWaitFlags(nowhere{}, streams)
	flags.ForCondition, flags.Timeout = []string{"condition=Ready"}, 0
	options, err := flags.ToOptions(nil)
	if err != nil {
		return "", err
	}
	kind := object.GroupVersionKind()
	mapped := kind.GroupVersion().WithResource(strings.ToLower(kind.Kind) + "s")
	lists := map[schema.GroupVersionResource]string{mapped: kind.Kind + "List"}
	options.DynamicClient = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, object.DeepCopy())
	info := &resource.Info{
		Mapping:   &meta.RESTMapping{Resource: mapped, GroupVersionKind: kind, Scope: meta.RESTScopeNamespace},
		Namespace: object.GetNamespace(),
		Name:      object.GetName(),
	}
	_, met, err := options.ConditionFn[0](context.Background(), info, options)
	switch {
	case met:
		return "met", nil
	case err != nil && strings.HasPrefix(err.Error(), "condition not met"):
		return "waits", nil
	}
	return "", fmt.Errorf("kubectl wait: %w", err)
}

// What Helm 4 does with the status that its copy of kstatus computes: Failed ends the wait with an error, Current ends it well (pkg/kube/statuswait.go).
func helm(object *unstructured.Unstructured) (string, error) {
	result, err := flux.Compute(object)
	if err != nil {
		return "", err
	}
	switch result.Status {
	case flux.CurrentStatus:
		return "done", nil
	case flux.FailedStatus:
		return "fails", nil
	}
	return "waits", nil
}

// Argo CD asks the script of the kind, unless the object is being deleted (gitops-engine, pkg/health/health.go).
func argo(customizations string, object *unstructured.Unstructured) (string, string, error) {
	if object.GetDeletionTimestamp() != nil {
		return "Progressing", "Pending deletion", nil
	}
	kind := object.GroupVersionKind()
	script, err := readScript(filepath.Join(customizations, kind.Group, kind.Kind, "health.lua"))
	if err != nil {
		return "", "", err
	}
	said, err := health(script, object.Object)
	return said.Status, said.Message, err
}

// A cluster that is never asked.
type nowhere struct{}

func (nowhere) ToRESTConfig() (*rest.Config, error) {
	return &rest.Config{Host: "http://127.0.0.1:1"}, nil
}

func (nowhere) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return nil, errors.New("no cluster")
}

func (nowhere) ToRESTMapper() (meta.RESTMapper, error) { return nil, errors.New("no cluster") }

func (nowhere) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), &clientcmd.ConfigOverrides{})
}

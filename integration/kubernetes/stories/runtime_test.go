// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A criRuntime is the container runtime as the kubelet sees it.
type criRuntime struct {
	runtimeapi.RuntimeServiceClient
	*grpc.ClientConn
}

// cri connects with it. What it returns wants to be closed.
func (s *story) cri() criRuntime {
	s.Helper()
	c, err := grpc.NewClient("unix://"+the.File("/run/containerd/containerd.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	s.must(err)
	return criRuntime{runtimeapi.NewRuntimeServiceClient(c), c}
}

// sandboxes counts what the runtime still keeps alive for the story's pods. The remains of
// the dead are not asked for: the kubelet removes them once a minute.
func (s *story) sandboxes(ctx context.Context) int {
	cri := s.cri()
	defer cri.Close()
	list, err := cri.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		State:         &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
		LabelSelector: map[string]string{"io.kubernetes.pod.namespace": s.ns},
	}})
	if err != nil {
		return -1
	}
	return len(list.Items)
}

// hostportsBy gives the hostPorts of pods that come to a plugin, as who edits the
// conflist does, and waits until the runtime has read that.
func (s *story) hostportsBy(plugin string) {
	s.Helper()
	s.must(the.Conflist(plugin))
	cri := s.cri()
	defer cri.Close()
	s.until("the runtime uses "+plugin, func() bool {
		status, err := cri.Status(s.Context(), &runtimeapi.StatusRequest{Verbose: true})
		if err != nil {
			return false
		}
		config := strings.ReplaceAll(status.Info["config"]+status.Info["cniconfig"], `\"`, `"`)
		return strings.Contains(config, the.Entry())
	})
}

// besidePortmap calls f once with each plugin, portmap first. The node must have no
// hostPorts then.
func (s *story) besidePortmap(f func(plugin string)) {
	s.Helper()
	defer s.hostportsBy("portguard")
	for _, plugin := range []string{"portmap", "portguard"} {
		s.hostportsBy(plugin)
		f(plugin)
		s.removeAll()
	}
}

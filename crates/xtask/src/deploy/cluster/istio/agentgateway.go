// Package agentgateway stands in for one that is built on a module which is in no registry. What it is for is off by default.
package agentgateway

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/serviceregistry/kube/controller"
	"istio.io/istio/pilot/pkg/status"
	"istio.io/istio/pilot/pkg/xds"
	"istio.io/istio/pkg/kube"
)

type Controller struct {
	model.AgentgatewayController
	Registrations []xds.Registration
}

func NewAgwController(
	kube.Client, func(schema.GroupVersionResource, <-chan struct{}) bool, controller.Options,
) *Controller {
	panic("this build of Istio has no agentgateway")
}

func (*Controller) SetStatusWrite(bool, *status.Manager) {}

// Package operator names the types of the Prometheus operator, so that go.mod keeps their module: tests/operator/build makes
// the CustomResourceDefinitions from them. It is never part of the product.
package operator

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

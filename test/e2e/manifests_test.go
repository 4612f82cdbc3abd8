package e2e

// web is a Deployment of the HTTP guest with a Service that has an app URL.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: $PROBE
        ports: [{name: http, containerPort: 8080}]
        env:
        - {name: RELEASE, value: one}
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {petrel.run/app: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
`

// server is a Pod of the HTTP guest.
const server = `
apiVersion: v1
kind: Pod
metadata:
  name: server
  labels: {app: server}
spec:
  containers:
  - name: server
    image: $PROBE
    ports: [{containerPort: 8080}]
`

// idle is a Deployment without replicas: for tests of the API in which no pod has to run.
const idle = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: idle
  labels: {app: idle}
spec:
  replicas: 0
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec:
      containers:
      - {name: main, image: registry.petrel.internal/e2e/absent:v1}
`

package api

// DefaultReplicas is an App's number of pods where the spec does not say.
const DefaultReplicas int32 = 1

// SetAppDefaults fills what the user may leave out.
func SetAppDefaults(app *App) {
	if app.Spec.Replicas == nil {
		replicas := DefaultReplicas
		app.Spec.Replicas = &replicas
	}
}

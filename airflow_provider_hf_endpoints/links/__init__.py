"""Extra links of the operators and the sensor. Nothing here asks the service: a task has stored what a link needs."""

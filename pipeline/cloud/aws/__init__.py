"""AWS: the service on Fargate, its image in ECR, both as stacks of CloudFormation."""

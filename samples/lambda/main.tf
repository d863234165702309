# The same function as in template.yaml. The variables come from:
#   encenv export --format terraform -o prod.auto.tfvars prod.env

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.32"
    }
  }
}

variable "environment" {
  description = "The variables of prod.env, encrypted. Terraform's state holds them too, where they are not secret either."
  type        = map(string)
}

resource "aws_iam_role" "shop" {
  name = "shop"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "open" {
  name   = "encenv"
  role   = aws_iam_role.shop.id
  policy = file("${path.module}/policy.json") # encenv iam-policy prod.env
}

resource "aws_iam_role_policy_attachment" "log" {
  role       = aws_iam_role.shop.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_lambda_function" "shop" {
  function_name    = "shop"
  role             = aws_iam_role.shop.arn
  runtime          = "python3.12"
  architectures    = ["x86_64"]
  filename         = "${path.module}/function.zip" # made by build.sh
  source_code_hash = filebase64sha256("${path.module}/function.zip")
  handler          = "function.handler"
  memory_size      = 512
  timeout          = 10
  publish          = true

  # SnapStart is optional: without it leave out this block, and the three variables below.
  snap_start {
    apply_on = "PublishedVersions"
  }

  environment {
    variables = merge(var.environment, {
      # Keep remnants of secrets out of the snapshot: overwrite freed memory, save no registers on the stack.
      PYTHONMALLOC   = "malloc"
      GLIBC_TUNABLES = "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"
      LD_BIND_NOW    = "1"
    })
  }
}

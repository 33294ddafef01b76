/** What `import … from 'spanway'` gives: all that a resource file and a Lambda file need, and the errors their author may meet. */
export { type Static, Type } from 'typebox';
export { type AccessRule, type Action, type WriteAction } from './schemas/resource/access.ts';
export { defineResource, isResource, type Resource, type ResourceOptions, type RowOf } from './schemas/resource/define.ts';
export { field } from './schemas/resource/fields.ts';
export { type FieldProblem, ResourceDefinitionError, SpanwayError, ValidationError } from './schemas/errors.ts';
export { bridgeHandlerFromEnvironment, gatewayHandlerFromEnvironment } from './cli/lambda.ts';
export {
  type BridgeHandler,
  BridgeEventError,
  type BridgeHandlerParts,
  createBridgeHandler,
  type LambdaContext,
} from './consumers/bridge/lambda.ts';
export { openQueue } from './ports/queue/index.ts';
export { type LambdaSqsRecord, readLambdaRecord } from './ports/queue/sqs-lambda.ts';
export { openTopic } from './ports/topic/index.ts';
export { type GatewayEvent, GatewayEventError } from './producers/gateway/lambda/event.ts';
export { type GatewayAnswer, type GatewayContext, type GatewayHandler } from './producers/gateway/lambda/handler.ts';

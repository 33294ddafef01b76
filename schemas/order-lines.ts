import { defineResource, field, Type } from 'spanway';

export default defineResource({
  name: 'order-lines',
  key: ['orderId', 'lineNumber'],
  // The lines of an order go with it.
  parent: { resource: 'orders', onDelete: 'cascade' },
  schema: Type.Object({
    orderId: Type.String({ minLength: 1, maxLength: 64 }),
    lineNumber: field.int64({ minimum: 1, maximum: 10_000 }),
    sku: Type.String({ minLength: 1, maxLength: 64 }),
    quantity: field.int64({ minimum: 1, maximum: 1_000_000 }),
    unitPrice: Type.Optional(field.numeric()),
  }),
  access: [
    { actions: ['read'], scope: 'order-lines:read' },
    { actions: ['insert', 'update', 'upsert', 'delete'], scope: 'order-lines:write' },
  ],
});
